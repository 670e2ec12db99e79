"""Mirrored traffic in, VXLAN to a t-meter out."""

import sys
from importlib.util import find_spec, module_from_spec

# pyroute2 is imported by its parts: the package itself would import every one of them, which takes as long as
# all else that the agent imports, while frames wait for it. So it is there with its folder, and is not run.
if spec := find_spec("pyroute2"):
    sys.modules.setdefault("pyroute2", module_from_spec(spec))
