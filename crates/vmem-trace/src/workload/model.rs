//! The allocation models in `data/`: rows with size formulas, and what the names in them mean.

use std::collections::HashMap;

use super::expression::{FormulaError, Number, evaluate};

const PARAMETERS: &str = include_str!("../../data/model_params.json");

/// Which rows to take, and under which names their parameters stand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub(super) parameters: &'static str,
    pub(super) rows: &'static str,
}

pub(super) const OVERLAY: Source =
    Source { parameters: "overlay", rows: include_str!("../../data/overlay_model_full.csv") };
pub(super) const OVERLAY_CORE: Source =
    Source { parameters: "overlay", rows: include_str!("../../data/overlay_model.csv") };
pub(super) const DISSOLVE: Source =
    Source { parameters: "dissolve", rows: include_str!("../../data/dissolve_model.csv") };
pub(super) const SPATIAL_JOIN: Source =
    Source { parameters: "spatial_join", rows: include_str!("../../data/spatial_join_model.csv") };

/// One allocation of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: &'static str,
    /// Whether it holds a result of the operation.
    pub(super) is_result: bool,
    pub(super) formula: &'static str,
    /// Whether it is live before the operation starts.
    pub(super) is_resident: bool,
    /// The step before whose allocation it is freed; the last step plus one if it survives.
    pub(super) free_step: usize,
}

/// The allocations of one operation; row `i` is made in step `i + 1`.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) rows: Vec<Row>,
    /// The rows to be freed at each step, up to the end.
    freed_at: Vec<Vec<usize>>,
    /// What each name means: a formula over other names.
    formulas: HashMap<String, String>,
}

impl Model {
    pub(super) fn load(source: Source) -> Result<Self, FormulaError> {
        let mut rows = Vec::new();
        for line in source.rows.lines().skip(1) {
            let row = row(line, rows.len() + 1);
            rows.push(row.ok_or_else(|| FormulaError::new(format!("bad row {line:?}")))?);
        }
        let mut freed_at = vec![Vec::new(); rows.len() + 2];
        for (index, row) in rows.iter().enumerate() {
            let rows = freed_at.get_mut(row.free_step);
            rows.ok_or_else(|| FormulaError::new(format!("{} is freed too late", row.name)))?
                .push(index);
        }
        let formulas = formulas(source.parameters)
            .ok_or_else(|| FormulaError::new(format!("no parameters {:?}", source.parameters)))?;
        Ok(Self { rows, freed_at, formulas })
    }

    /// The step after the last one, at which everything that survived is freed.
    pub(super) fn end(&self) -> usize {
        self.rows.len() + 1
    }

    /// The steps in which something happens: residents, then allocations, then the end.
    pub(super) fn steps(&self) -> impl Iterator<Item = usize> {
        let is_resident = |step: usize| self.rows.get(step - 1).is_some_and(|row| row.is_resident);
        let happens = move |step: &usize| !is_resident(*step) || !self.freed_at(*step).is_empty();
        std::iter::once(0).chain((1..=self.end()).filter(happens))
    }

    /// The rows to be freed at `step`, which is at most the end.
    pub(super) fn freed_at(&self, step: usize) -> &[usize] {
        &self.freed_at[step]
    }

    /// The size of every row in bytes, with the values of some names given.
    pub(super) fn sizes(&self, given: &[(&str, u64)]) -> Result<Vec<u64>, FormulaError> {
        let size = |row: &Row| {
            let value = self.evaluate(row.formula, given, 0)?;
            value.bytes()
        };
        let named = |row: &Row| {
            size(row).map_err(|error| {
                FormulaError::new(format!("{error} in the size {} of {}", row.formula, row.name))
            })
        };
        self.rows.iter().map(named).collect()
    }

    /// The value of one name.
    pub(super) fn value(&self, name: &str, given: &[(&str, u64)]) -> Result<u64, FormulaError> {
        self.evaluate(name, given, 0)?.bytes()
    }

    fn evaluate(
        &self,
        formula: &str,
        given: &[(&str, u64)],
        depth: usize,
    ) -> Result<Number, FormulaError> {
        if depth > self.formulas.len() {
            return Err(FormulaError::new(format!("{formula:?} is defined by itself")));
        }
        evaluate(formula, &|name| {
            if let Some((_, value)) = given.iter().find(|(known, _)| *known == name) {
                return Ok(Number::Whole(i128::from(*value)));
            }
            let formula = self
                .formulas
                .get(name)
                .ok_or_else(|| FormulaError::new(format!("{name:?} is not defined")))?;
            self.evaluate(formula, given, depth + 1)
        })
    }
}

fn row(line: &'static str, number: usize) -> Option<Row> {
    let mut fields = line.split(',');
    let step: usize = fields.next()?.parse().ok()?;
    let name = fields.next()?;
    let kind = fields.next()?;
    let formula = fields.next()?;
    let alloc_step: usize = fields.next()?.parse().ok()?;
    let free_step: usize = fields.next()?.parse().ok()?;
    let in_order = step == number && (alloc_step == 0 || alloc_step == step) && free_step > step;
    in_order.then_some(Row {
        name,
        is_result: kind == "result",
        formula,
        is_resident: alloc_step == 0,
        free_step,
    })
}

/// Parameters and derived names of one operation. A text starts with the formula and goes on in
/// prose.
fn formulas(operation: &str) -> Option<HashMap<String, String>> {
    let all: serde_json::Value = serde_json::from_str(PARAMETERS).ok()?;
    let operation = all.get(operation)?;
    let mut formulas = HashMap::new();
    for group in ["parameters", "derived"] {
        for (name, meaning) in operation.get(group)?.as_object()? {
            let formula = match meaning.as_str() {
                Some(text) => text.split_whitespace().next()?.to_owned(),
                None => meaning.to_string(),
            };
            formulas.insert(name.clone(), formula);
        }
    }
    Some(formulas)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_loads_and_all_its_names_have_values() {
        for (source, rows) in
            [(OVERLAY, 703), (OVERLAY_CORE, 123), (DISSOLVE, 120), (SPATIAL_JOIN, 125)]
        {
            let model = Model::load(source).unwrap();
            assert_eq!(model.rows.len(), rows);
            assert_eq!(model.sizes(&[("N", 1000)]).unwrap().len(), rows);
        }
    }

    #[test]
    fn a_name_given_replaces_its_formula() {
        let model = Model::load(OVERLAY).unwrap();
        assert_eq!(model.value("P", &[("N", 50)]), Ok(100));
        assert_eq!(model.value("SL", &[("N", 50), ("P", 7)]), Ok(70));
    }

    #[test]
    fn a_name_without_value_is_an_error() {
        let model = Model::load(OVERLAY).unwrap();
        let error = model.sizes(&[]).unwrap_err().to_string();
        assert!(error.contains("not defined"), "{error}");
    }
}
