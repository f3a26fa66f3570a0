"""The one error that a bad file raises."""


class BitbookFormatError(ValueError):
    """A file is not a whole and true bitbook file; the message names the section and the fault."""

    def __init__(self, section: str, fault: str) -> None:
        super().__init__(f"{section}: {fault}")
        self.section = section
        self.fault = fault
