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

[environment] = sys.argv[1:]
library = "python%d.%d" % sys.version_info[:2]
own = [os.path.join(environment, lib, library, "site-packages") for lib in ("lib", "lib64") if environment]
about = {
    "version": list(sys.version_info[:3]),
    "implementation": sys.implementation.name,
    "executable": sys.executable,
    "library": os.path.dirname(os.__file__),
    "packages": own + site.getsitepackages(),
}
print(json.dumps(about), flush=True)
if sys.version_info >= (3, 9):
    code = compile(sys.stdin.buffer.read(), "task_engine.py", "exec", dont_inherit=True)
    sys.stdout.buffer.write(MAGIC_NUMBER + bytes(12) + marshal.dumps(code))
