"""What Python's email package says of each message that is named on standard input:
one JSON object a line. It must never interpret more than the package does.
"""
import email, email.header, email.policy, email.utils, json, re, sys

FIELDS = ("Subject", "List-Id", "From", "To")


def text(value):
    """A field's text: unfolded, encoded words decoded, blanks as one."""
    try:
        value = re.sub(r"\r?\n(?=[ \t])", "", str(value))
        return " ".join(str(email.header.make_header(email.header.decode_header(value))).split())
    except (LookupError, ValueError) as error:
        return "?" + type(error).__name__


def names(part):
    """How the file in a part is called: by its disposition, and by its type."""
    for parameter, field in (("filename", "content-disposition"), ("name", "content-type")):
        value = part.get_param(parameter, header=field)
        if value:
            yield text(email.utils.collapse_rfc2231_value(value))


for path in map(str.strip, sys.stdin):
    with open(path, "rb") as file:
        message = email.message_from_binary_file(file, policy=email.policy.compat32)
    facts = {name: sorted(text(value) for value in message.get_all(name, [])) for name in FIELDS}
    facts["types"] = sorted({part.get_content_type() for part in message.walk()})
    facts["names"] = sorted({name for part in message.walk() for name in names(part) if name})
    print(json.dumps(facts))
