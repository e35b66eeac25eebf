//! The order of a plan's steps, as a graph.

/// The steps in layers: each step stands in the first layer in which all that it waits for is behind it, so the steps
/// of one layer can run side by side. `after[i]` are the steps that step `i` waits for.
///
/// When the steps wait for one another in a circle, gives that circle instead, its first step again at its end.
pub(super) fn layers(after: &[Vec<usize>]) -> Result<Vec<Vec<usize>>, Vec<usize>> {
    let mut placed = vec![false; after.len()];
    let mut layers = Vec::new();
    while placed.contains(&false) {
        let ready = |step: &usize| !placed[*step] && after[*step].iter().all(|before| placed[*before]);
        let layer: Vec<usize> = (0..after.len()).filter(ready).collect();
        if layer.is_empty() {
            return Err(circle(after, &placed));
        }
        for step in &layer {
            placed[*step] = true;
        }
        layers.push(layer);
    }
    Ok(layers)
}

/// Every step that is left waits for another that is left, so walking on must come back to where it was.
fn circle(after: &[Vec<usize>], placed: &[bool]) -> Vec<usize> {
    let mut walk: Vec<usize> = Vec::new();
    let mut step = placed.iter().position(|placed| !placed);
    while let Some(here) = step {
        if let Some(start) = walk.iter().position(|seen| *seen == here) {
            let mut circle = walk.split_off(start);
            circle.push(here);
            return circle;
        }
        walk.push(here);
        step = after[here].iter().copied().find(|before| !placed[*before]);
    }
    walk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn independent_steps_share_a_layer() {
        assert_eq!(layers(&[vec![], vec![0], vec![0], vec![1, 2]]).unwrap(), [vec![0], vec![1, 2], vec![3]]);
        assert!(layers(&[]).unwrap().is_empty());
    }

    #[test]
    fn a_circle_is_walked_round() {
        assert_eq!(layers(&[vec![2], vec![0], vec![1]]).unwrap_err(), [0, 2, 1, 0]);
        assert_eq!(layers(&[vec![0]]).unwrap_err(), [0, 0]);
        assert_eq!(layers(&[vec![], vec![2], vec![1], vec![2]]).unwrap_err(), [1, 2, 1]);
    }
}
