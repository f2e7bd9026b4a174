"""A file of DSPy, rewritten without DSPy."""

import subprocess
import sys
from pathlib import Path

Path("app.py").write_text('import dspy\n\nroute = dspy.Predict("ticket -> team")\n')
command = [sys.executable, "-m", "lmpipe", "migrate", "app.py", "--no-run"]
done = subprocess.run(command, capture_output=True, text=True, check=False)
assert done.returncode == 0, done.stderr + done.stdout
assert "lmpipe.Predict(" in Path("app_lmpipe.py").read_text()
