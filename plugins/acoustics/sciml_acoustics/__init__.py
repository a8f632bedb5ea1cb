"""Room acoustics: wave solvers, surrogates of the sound field, and what one would have used instead."""
