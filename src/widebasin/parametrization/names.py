"""The parametrizations by name."""

STANDARD, MUP, MUP2 = "standard", "mup", "mup2"

PARAMETRIZATIONS = {
    STANDARD: "nothing but the initialization: one learning rate and one norm of the ascent for all layers",
    MUP: "initialization and learning rate of every layer (muP); the ascent is SAM's own",
    MUP2: "the ascent of every layer too (muP^2, layerwise perturbation scaling)",
}
"""Name on the command line -> what it changes as networks widen."""
