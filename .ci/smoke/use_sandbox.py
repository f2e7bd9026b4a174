"""Code in Monty."""

import lmpipe

result = lmpipe.MontySandbox().run("sum(range(10))")
assert result.value == 45, result
