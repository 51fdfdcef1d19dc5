//! The route table: routes in order, compiled once, valid as a whole.
//!
//! It only decides. It must never carry out an action, and never hold a route
//! whose condition or action it could not compile.

use lazaret_envelope::Transaction;

use crate::condition::{Common, Compiler, Condition, Effort, Fault, KeyError};
use crate::config::RouteConfig;
use crate::facts::{Facts, FactsError};
use crate::id::{ROUTES_MAX, RouteId};
use crate::verdict::Verdict;

/// What a route does with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Deliver it by the transport of this name.
    Deliver(String),
}

/// Why a table can't be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// More than [`ROUTES_MAX`] routes.
    #[error("{0} routes are too many: at most {ROUTES_MAX} are allowed")]
    TooManyRoutes(usize),
    /// A key of a route makes no sense.
    #[error("route {route}: {key}: {error}")]
    Route {
        /// Which route, counted from 1.
        route: usize,
        /// Which key, as a path, its lists counted from 1: `any[2].not.sender`.
        key: String,
        /// What is wrong with it.
        error: KeyError,
    },
}

/// What the conditions of a table can ask for beyond the envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// Header fields.
    pub header: bool,
    /// Something that takes parsing the whole message.
    pub message: bool,
}

/// A compiled table.
#[derive(Debug, Clone)]
pub struct RouteTable {
    routes: Vec<Route>,
    /// How many answers hold for all recipients of a message.
    slots: usize,
}

#[derive(Debug, Clone)]
struct Route {
    condition: Condition,
    action: Action,
}

impl RouteTable {
    /// Compiles the routes.
    ///
    /// # Errors
    /// The first key that makes no sense, and its route; or too many routes.
    pub fn compile(configs: &[RouteConfig]) -> Result<Self, TableError> {
        if configs.len() > ROUTES_MAX {
            return Err(TableError::TooManyRoutes(configs.len()));
        }
        let mut compiler = Compiler::default();
        let routes = (1..).zip(configs).map(|(route, config)| {
            Route::compile(config, &mut compiler).map_err(|Fault { key, error }| TableError::Route {
                route,
                key,
                error,
            })
        });
        let routes = routes.collect::<Result<_, _>>()?;
        Ok(Self { routes, slots: compiler.slots })
    }

    /// Number of routes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there is no route.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// What the route does.
    ///
    /// # Panics
    /// The id is of another table. Ids that [`Verdict::decode`] let pass for
    /// this table's [`len`](Self::len) are of this one.
    #[must_use]
    pub fn action(&self, id: RouteId) -> &Action {
        &self.routes[usize::from(id.0)].action
    }

    /// The transports that the table names, each as often as it is named, in
    /// the order of the routes.
    pub fn deliveries(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(|Route { action: Action::Deliver(transport), .. }| transport.as_str())
    }

    /// Which route is the first without conditions, counted from 1: every recipient finds
    /// it, and none a later one.
    #[must_use]
    pub fn catch_all(&self) -> Option<usize> {
        let takes_all = |route: &Route| matches!(&route.condition, Condition::All(keys) if keys.is_empty());
        self.routes.iter().position(takes_all).map(|at| at + 1)
    }

    /// What the conditions can ask for.
    #[must_use]
    pub fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        for route in &self.routes {
            route.condition.each_test(&mut |test| match test.effort() {
                Effort::Envelope => {}
                Effort::Header => needs.header = true,
                Effort::Message => needs.message = true,
            });
        }
        needs
    }

    /// Finds the first route that matches, for each recipient, unless the message
    /// goes round in a loop.
    ///
    /// # Errors
    /// A limit is exceeded, or the message's part tree is malformed; what no
    /// condition had to ask for is not tested.
    pub fn judge(&self, transaction: &Transaction, facts: &mut Facts<'_>) -> Result<Verdict, FactsError> {
        facts.admit(transaction.recipients.len())?;
        if facts.loops() {
            return Ok(Verdict::Loop);
        }
        let sender = transaction.sender.path.as_str();
        let mut common = Common { sender, answers: vec![None; self.slots], facts };
        let recipients = transaction.recipients.iter();
        let routes = recipients.map(|to| self.first_match(to.address.as_str(), &mut common));
        routes.collect::<Result<_, _>>().map(Verdict::Routes)
    }

    fn first_match(
        &self,
        recipient: &str,
        common: &mut Common<'_, '_>,
    ) -> Result<Option<RouteId>, FactsError> {
        for (id, route) in (0..).zip(&self.routes) {
            if route.matches(recipient, common)? {
                return Ok(Some(RouteId(id)));
            }
        }
        Ok(None)
    }
}

impl Route {
    fn compile(config: &RouteConfig, compiler: &mut Compiler) -> Result<Self, Fault> {
        let condition = Condition::All(compiler.route(&config.condition())?);
        match config.deliver.as_deref() {
            None => Err(Fault::new("deliver", KeyError::NoAction)),
            Some("") => Err(Fault::new("deliver", KeyError::Empty)),
            Some(transport) => Ok(Self { condition, action: Action::Deliver(transport.to_owned()) }),
        }
    }

    fn matches(&self, recipient: &str, common: &mut Common<'_, '_>) -> Result<bool, FactsError> {
        for effort in Effort::ALL {
            if let Some(holds) = self.condition.holds(recipient, effort, common)? {
                return Ok(holds);
            }
        }
        unreachable!("with the whole message at hand every answer is known")
    }
}

#[cfg(test)]
mod tests;
