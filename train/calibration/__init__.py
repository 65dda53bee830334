"""What the transform codec learns from pictures alone: which directions of a cut the detector looks at, and how often.

    metric.py   gradients of the detector's own outputs at the cut
    basis.py    a basis per frequency and a rotation over all of them, in that metric
    tables.py   integer tables, dead zones and reconstruction points for the coefficients
    fit.py      all three: from pictures to the [codec] table and the arrays of codec.npz

Nothing of the detector changes. Only this needs gradients, hence torch; the services read the arrays.
"""
