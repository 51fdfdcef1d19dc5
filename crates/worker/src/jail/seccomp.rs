//! Seccomp: the system calls that a cell may make, and why each is needed.
//!
//! Whatever is not on the list, or not with these arguments, ends the process
//! with SIGSYS. No call that takes a path, makes a descriptor (but by receiving
//! a message's), a thread or a process may ever be on it.

use std::collections::BTreeMap;

use ::seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use libc::c_long;

/// What an argument must be, as the 32 bits that the kernel looks at.
#[derive(Debug, Clone, Copy)]
enum Must {
    /// This number.
    Be(i32),
    /// Without any of these bits.
    Lack(i32),
    /// No pointer at all.
    BeNull,
    /// The id of this process.
    BeThisProcess,
}

/// Arguments by their place: all must fit.
type Arguments = &'static [(u8, Must)];

/// A system call, and the arguments that it may have; any if there are none.
type Allowed = (c_long, &'static [Arguments]);

/// Descriptor of the socket to the worker.
const SOCKET: Arguments = &[(0, Must::Be(0))];

/// Descriptors that lead nowhere.
const OUTPUT: Arguments = &[(0, Must::Be(1))];
const ERRORS: Arguments = &[(0, Must::Be(2))];

/// The list.
const LIST: &[Allowed] = &[
    // The next task, and the descriptor of its message, come over the socket.
    (libc::SYS_recvmsg, &[SOCKET]),
    // The answer goes over the socket, and to nobody by address.
    (libc::SYS_sendto, &[&[(0, Must::Be(0)), (4, Must::BeNull)]]),
    // What is printed, above all on the way to an abort, leads nowhere, but must
    // not give the death another name.
    (libc::SYS_write, &[OUTPUT, ERRORS]),
    // The C library's last words on a damaged heap, before it aborts.
    (libc::SYS_writev, &[ERRORS]),
    // Says that there are no more answers.
    (libc::SYS_shutdown, &[SOCKET]),
    // How long a message is. Of all the stat calls this one takes no path.
    (libc::SYS_fstat, &[]),
    // A small message is read, from where it is said, whoever else reads it.
    (libc::SYS_pread64, &[]),
    // A message is given back.
    (libc::SYS_close, &[]),
    // A build with debug assertions asks whether what it closes is open.
    (libc::SYS_fcntl, &[&[(1, Must::Be(libc::F_GETFD))]]),
    // The heap grows and shrinks.
    (libc::SYS_brk, &[]),
    // A large message, or a large piece of heap, is mapped; never to be executed.
    (libc::SYS_mmap, &[&[(2, Must::Lack(libc::PROT_EXEC))]]),
    // And given back.
    (libc::SYS_munmap, &[]),
    // A large vector grows.
    (libc::SYS_mremap, &[]),
    // An allocator makes use of pages that it had reserved; never to be executed.
    (libc::SYS_mprotect, &[&[(2, Must::Lack(libc::PROT_EXEC))]]),
    // An allocator gives pages back, and does nothing else.
    (libc::SYS_madvise, &[&[(2, Must::Be(libc::MADV_DONTNEED))], &[(2, Must::Be(libc::MADV_FREE))]]),
    // Locks in libraries, and threads in reserve.
    (libc::SYS_futex, &[]),
    // Seeds of hash maps.
    (libc::SYS_getrandom, &[]),
    // An alarm goes off when the message takes long: it is set …
    (libc::SYS_setitimer, &[&[(0, Must::Be(libc::ITIMER_REAL))]]),
    // … looks at this process's CPU clock, sends word over the socket …
    (libc::SYS_clock_gettime, &[&[(0, Must::Be(libc::CLOCK_PROCESS_CPUTIME_ID))]]),
    // … and has the cell sleep for a moment.
    (libc::SYS_nanosleep, &[]),
    // Stopped and continued meanwhile, it sleeps on: the kernel has it ask for that.
    (libc::SYS_restart_syscall, &[]),
    // The end, with a status that says why.
    (libc::SYS_exit_group, &[]),
    // The handler of SIGSEGV and SIGBUS that tells a stack overflow from other
    // faults hands these back to the kernel …
    (libc::SYS_rt_sigaction, &[&[(0, Must::Be(libc::SIGSEGV))], &[(0, Must::Be(libc::SIGBUS))]]),
    // … and returns, to fault again.
    (libc::SYS_rt_sigreturn, &[]),
    // An abort unblocks its signal first, and a thread in reserve those that it is called
    // to duty for.
    (libc::SYS_rt_sigprocmask, &[]),
    // An abort asks who it is that aborts.
    (libc::SYS_getpid, &[]),
    (libc::SYS_gettid, &[]),
    // An abort is a signal to oneself: this one, and to nobody else.
    (libc::SYS_tgkill, &[&[(0, Must::BeThisProcess), (2, Must::Be(libc::SIGABRT))]]),
];

/// The numbers of the calls on the list.
pub fn allowed_numbers() -> impl Iterator<Item = i64> {
    LIST.iter().map(|(number, _)| *number)
}

/// The list as the kernel wants it, for this process.
pub(super) fn compile() -> Result<BpfProgram, BackendError> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let rules = LIST
        .iter()
        .map(|(number, alternatives)| {
            let rules = alternatives.iter().map(|arguments| rule(arguments));
            Ok((*number, rules.collect::<Result<Vec<_>, _>>()?))
        })
        .collect::<Result<BTreeMap<_, _>, BackendError>>()?;
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, architecture)?.try_into()
}

fn rule(arguments: &[(u8, Must)]) -> Result<SeccompRule, BackendError> {
    use SeccompCmpArgLen::{Dword, Qword};
    let conditions = arguments.iter().map(|&(place, must)| {
        let (length, operator, value) = match must {
            Must::Be(number) => (Dword, SeccompCmpOp::Eq, bits(number)),
            Must::Lack(mask) => (Dword, SeccompCmpOp::MaskedEq(bits(mask)), 0),
            Must::BeNull => (Qword, SeccompCmpOp::Eq, 0),
            Must::BeThisProcess => (Dword, SeccompCmpOp::Eq, std::process::id().into()),
        };
        SeccompCondition::new(place, length, operator, value)
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

fn bits(number: i32) -> u64 {
    number.cast_unsigned().into()
}
