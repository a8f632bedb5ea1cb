"""Two-point correlation functions that CosmoBench ships beside its point clouds, `tpcf_train.hdf5` and the like.

`/tpcf` (cloud, bin) holds one row for each cloud, `/params/{Omega_m, sigma_8, ...}` (cloud,) the labels of the rows,
`/r` (bin,), where stored, the separations in Mpc/h.

Source: N. Huang, R. Stiskalek, J.-Y. Lee, A. E. Bayer et al., CosmoBench, arXiv:2507.03707.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from sciml_datasets.formats._h5clouds import read_labels
from sciml_datasets.formats._h5compact import open_h5, refuse


def read_tpcf(path: str | Path) -> xr.Dataset:
    """Return `tpcf` (cloud, bin), the parameters (cloud), and the coordinate `separation` (bin) [Mpc/h] where stored.

    Contract: the i-th row belongs to the i-th label and to the cloud of number i; numbers are finite.
    """
    path = Path(path)
    with open_h5(path) as file:
        item = file.get("tpcf")
        if not isinstance(item, h5py.Dataset) or item.ndim != 2 or not item.size or item.dtype.kind != "f":
            got = f"only {sorted(file)}" if item is None else f"{getattr(item, 'shape', 'a group')}"
            raise refuse(path, "correlation functions /tpcf (cloud, bin)", got, "is this a file of them?")
        values, labels = item[()], read_labels(file, item.shape[0], path)
        separation = file["r"][()] if "r" in file else None
    if not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values))[0, 0])
        raise refuse(f"{path} /tpcf", "finite numbers", f"NaN or infinity in row {row}", "leave that cloud out")
    data: dict[str, Any] = {"tpcf": (("cloud", "bin"), values, {"units": "1"})}
    data |= {name: ("cloud", label, {"units": "1"}) for name, label in labels.items()}
    if separation is None:
        return xr.Dataset(data)
    if separation.shape != values.shape[1:]:
        got = f"shape {separation.shape}"
        raise refuse(f"{path} /r", f"{values.shape[1]} separations, one for each bin", got, "copy the file again")
    return xr.Dataset(data, {"separation": ("bin", separation, {"units": "Mpc/h"})})
