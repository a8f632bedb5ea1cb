"""What the multi-fidelity plugin registers; nothing heavy is imported here."""

from __future__ import annotations

from sciml import Registration, hookimpl

SCIML_API = ">=1,<2"


@hookimpl
def sciml_experiments() -> list[Registration]:
    """Register `sciml run mfuq`."""
    about = "Several fidelities of functions and of an aerofoil: predictions, intervals, distributions"
    return [Registration("mfuq", "sciml_mfuq.study.experiment:MultiFidelityUq", about)]


@hookimpl
def sciml_operators() -> list[Registration]:
    """Register the simulators of an aerofoil."""
    return [
        Registration("mfuq.xfoil", "sciml_mfuq.simulators.xfoil:Xfoil", "Lift, drag and moment by XFOIL"),
        Registration(
            "mfuq.xfoil_pressure", "sciml_mfuq.simulators.xfoil:XfoilPressure", "Pressure on an aerofoil by XFOIL"
        ),
        Registration(
            "mfuq.neuralfoil",
            "sciml_mfuq.simulators.neuralfoil:NeuralFoil",
            "Lift and drag by NeuralFoil",
            ("neuralfoil",),
            "airfoil",
        ),
        Registration("mfuq.nektar", "sciml_mfuq.simulators.nektar:Nektar", "Lift and drag by the Nektar++ solver"),
        Registration(
            "mfuq.recorded",
            "sciml_mfuq.simulators.nektar:RecordedNektar",
            "Recorded Nektar++ runs of NACA 0012, Re 1000",
        ),
    ]


@hookimpl
def sciml_surrogates() -> list[Registration]:
    """Register the surrogate of all engines."""
    return [
        Registration("mfuq.model", "sciml_mfuq.surrogate:MultiFidelity", "Outputs and errors from several fidelities")
    ]


@hookimpl
def sciml_datasets() -> list[Registration]:
    """Register recorded runs."""
    return [
        Registration(
            "mfuq.nektar", "sciml_mfuq.simulators.nektar_data:NACA0012", "Recorded Nektar++ runs of NACA 0012, Re 1000"
        )
    ]
