//! The models of other allocators, as stacks that can be asked for by name.

use clap::Arg;
use vmem_benches::Baseline;
use vmem_cli::parts::Tier;

/// Every model.
fn peers() -> impl Iterator<Item = Tier> {
    let tier = |&Baseline { name, about, build }: &Baseline| Tier::peer(name, about, build);
    vmem_benches::ALL.iter().map(tier)
}

/// What is compared: tier A, its pool with the tight footprint, and every model.
pub(crate) fn compared() -> impl Iterator<Item = Tier> {
    let ours = |tier: &Tier| ["a", "a-tight"].contains(&tier.name);
    Tier::ours().filter(ours).chain(peers())
}

/// The option `--tier`, which takes models too.
pub(crate) fn known(tier: Arg) -> Arg {
    let ours = tier.get_help().map(ToString::to_string).unwrap_or_default();
    let models: Vec<_> = peers().map(|peer| peer.name).collect();
    tier.help(format!("{ours}; models of other allocators: {}", models.join(", ")))
        .value_parser(|text: &str| Tier::find(text, Tier::ours().chain(peers())))
}
