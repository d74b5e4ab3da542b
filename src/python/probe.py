"""Says what this interpreter is, and compiles task_engine.py, which it reads from stdin.

Prints a line of JSON, and after it the content of a .pyc file. It is started without `site`, so that no code
of a virtual environment runs before its files are checked.
"""

import json
import marshal
import os
import site
import sys
from importlib.util import MAGIC_NUMBER

prefixes = [prefix for prefix in sys.argv[1:] if prefix] + [sys.prefix, sys.exec_prefix]
about = {
    "version": list(sys.version_info[:3]),
    "implementation": sys.implementation.name,
    "executable": sys.executable,
    "library": os.path.dirname(os.__file__),
    "packages": site.getsitepackages(prefixes),
}
print(json.dumps(about), flush=True)
if sys.version_info >= (3, 9):
    code = compile(sys.stdin.buffer.read(), "task_engine.py", "exec", dont_inherit=True)
    sys.stdout.buffer.write(MAGIC_NUMBER + bytes(12) + marshal.dumps(code))
