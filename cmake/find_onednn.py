"""Prints the folder of dnnl-config.cmake that the PyPI package onednn-devel-cpu-gomp brought, if it is installed."""
import importlib.metadata

try:
    for file in importlib.metadata.files("onednn-devel-cpu-gomp") or []:
        if file.name == "dnnl-config.cmake":
            print(file.locate().resolve().parent)
            break
except importlib.metadata.PackageNotFoundError:
    pass
