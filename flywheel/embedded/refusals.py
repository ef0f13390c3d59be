"""What a person can put right: the text is the sentence that says how."""


class EmbeddedError(RuntimeError):
    pass


class AlreadyRunningError(EmbeddedError):
    pass
