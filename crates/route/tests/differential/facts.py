"""What Python's email package says of each message that is named on standard input:
one JSON object a line. It must never interpret more than the package does.
"""
import email, email.header, email.policy, json, re, sys

FIELDS = ("Subject", "List-Id", "From", "To")


def text(value):
    """A field's text: unfolded, encoded words decoded, blanks as one."""
    try:
        value = re.sub(r"\r?\n(?=[ \t])", "", str(value))
        return " ".join(str(email.header.make_header(email.header.decode_header(value))).split())
    except (LookupError, ValueError) as error:
        return "?" + type(error).__name__


for path in map(str.strip, sys.stdin):
    with open(path, "rb") as file:
        message = email.message_from_binary_file(file, policy=email.policy.compat32)
    facts = {name: sorted(text(value) for value in message.get_all(name, [])) for name in FIELDS}
    facts["types"] = sorted({part.get_content_type() for part in message.walk()})
    print(json.dumps(facts))
