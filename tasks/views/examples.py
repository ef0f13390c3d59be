"""One sample of everything that an empty page teaches with. Tests run them through the real parsers."""

ROW = '{"prompt": "What is 17 + 25?", "reference": 42, "grader": {"type": "number"}, "domain": "arithmetic"}'
ROWS = "\n".join(
    (
        ROW,
        '{"prompt": "Reverse the string: abc", "reference": "cba", "domain": "strings", '
        '"grader": {"type": "string_check", "input": "{{ sample.output_text }}", '
        '"reference": "{{ item.reference }}", "operation": "eq"}}',
    )
)
