//! Nothing here: the programs are in the `examples` folder beside this one.
