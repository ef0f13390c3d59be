"""HEAD is answered with the headers of a GET and no body, whatever a view has rendered."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse


def without_body(answer: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """A middleware. What arrived as a POST and stands for a HEAD (resumable uploads) keeps its body: its client reads
    the length that was announced."""

    def answered(request: HttpRequest) -> HttpResponseBase:
        arrived_as = request.method
        reply = answer(request)
        if arrived_as == "HEAD":
            if isinstance(reply, StreamingHttpResponse):
                reply.streaming_content = iter(())
            else:
                reply.content = b""  # type: ignore[attr-defined]
        return reply

    return answered
