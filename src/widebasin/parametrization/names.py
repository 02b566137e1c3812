"""The parametrizations by name."""

STANDARD, MUP, MUP2 = "standard", "mup", "mup2"

PARAMETRIZATIONS = {
    STANDARD: "initialization by fan-in, one learning rate and one norm of the ascent for all layers",
    MUP: "muP: initialization and learning rate of every layer follow the width; the ascent is SAM's own",
    MUP2: "muP^2: muP, and the ascent of every layer follows the width too (layerwise perturbation scaling)",
}
"""Name on the command line -> what it changes as networks widen."""
