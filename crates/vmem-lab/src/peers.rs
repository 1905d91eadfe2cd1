//! The models of other allocators, as stacks that can be asked for by name.

use vmem_benches::Baseline;
use vmem_cli::parts::Tier;

/// Every model.
fn peers() -> impl Iterator<Item = Tier> {
    let tier = |&Baseline { name, about, build }: &Baseline| Tier::peer(name, about, build);
    vmem_benches::ALL.iter().map(tier)
}

/// What is compared: tier A, its pool with the lazy footprint, and every model.
pub(crate) fn compared() -> impl Iterator<Item = Tier> {
    let ours = |tier: &Tier| ["a", "a-bare"].contains(&tier.name);
    Tier::ours().filter(ours).chain(peers())
}

/// The stack of this name, ours or a model.
///
/// # Errors
/// The names there are.
pub(crate) fn parse(text: &str) -> Result<Tier, String> {
    Tier::find(text, Tier::ours().chain(peers()))
}
