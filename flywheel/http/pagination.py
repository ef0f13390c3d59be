"""Lists are newest first, by id cursor: the page a reader is on never shifts under new rows, and no COUNT is needed."""

from rest_framework.pagination import CursorPagination


class NewestFirst(CursorPagination):
    ordering = "-id"
    page_size = 50
    page_size_query_param = "limit"
    max_page_size = 500
    invalid_cursor_message = "This is no place in the list: start again without a cursor."
