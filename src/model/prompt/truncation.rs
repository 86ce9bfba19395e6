//! Makes a prompt that is too long fit, part by part.
//!
//! Source: THUDM/GLM@4f61ed7 `tasks/superglue/pvp.py`, `PVP.truncate`. One difference: where nothing that may
//! be cut is left, the published code raises an index error; here the caller is told how much is missing.

/// The tokens of one part of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPart {
    /// The tokens, tokenized on their own.
    pub ids: Vec<u32>,
    /// May tokens be cut from the end?
    pub shortenable: bool,
}

/// Cuts `excess` tokens, one at a time, each from the last part of the longer side that still has some.
///
/// The longer side is the one with more tokens in shortenable parts; side B, when they are equal.
///
/// # Errors
/// The number of tokens that remain too many, when both sides have no more tokens that may be cut.
pub fn truncate(side_a: &mut [TokenPart], side_b: &mut [TokenPart], excess: usize) -> Result<(), usize> {
    let (mut left_a, mut left_b) = (num_shortenable(side_a), num_shortenable(side_b));
    for done in 0..excess {
        let (side, left) =
            if left_a > left_b { (&mut *side_a, &mut left_a) } else { (&mut *side_b, &mut left_b) };
        let last = side.iter_mut().rev().find(|part| part.shortenable && !part.ids.is_empty());
        last.ok_or(excess - done)?.ids.pop();
        *left -= 1;
    }
    Ok(())
}

/// Cuts `excess` tokens from the start of the shortenable parts, the first part first.
///
/// # Errors
/// The number of tokens that remain too many, when there are no more that may be cut.
pub fn truncate_start<'a>(
    parts: impl Iterator<Item = &'a mut TokenPart>,
    excess: usize,
) -> Result<(), usize> {
    let mut left = excess;
    for part in parts.filter(|part| part.shortenable) {
        left -= part.ids.drain(..left.min(part.ids.len())).len();
    }
    if left == 0 { Ok(()) } else { Err(left) }
}

fn num_shortenable(side: &[TokenPart]) -> usize {
    side.iter().filter(|part| part.shortenable).map(|part| part.ids.len()).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A side from lengths; a negative length is a part that mustn't be cut.
    fn side(lengths: &[i32]) -> Vec<TokenPart> {
        let part = |&n: &i32| TokenPart { ids: (0..n.unsigned_abs()).collect(), shortenable: n > 0 };
        lengths.iter().map(part).collect()
    }

    fn lengths(side: &[TokenPart]) -> Vec<usize> {
        side.iter().map(|part| part.ids.len()).collect()
    }

    fn cut(a: &[i32], b: &[i32], excess: usize) -> Result<(Vec<usize>, Vec<usize>), usize> {
        let (mut a, mut b) = (side(a), side(b));
        truncate(&mut a, &mut b, excess).map(|()| (lengths(&a), lengths(&b)))
    }

    #[test]
    fn the_longer_side_is_cut_first_and_side_b_on_ties() {
        // A has 5 tokens to give, B 3: A, A (now 3:3), B (3:2), A (2:2), B (2:1).
        assert_eq!(cut(&[5], &[3], 5), Ok((vec![2], vec![1])));
        // Tokens that mustn't be cut don't make a side longer.
        assert_eq!(cut(&[-9, 2], &[3], 1), Ok((vec![9, 2], vec![2])));
    }

    #[test]
    fn the_last_part_that_still_has_tokens_is_cut() {
        assert_eq!(cut(&[4, -1, 2], &[], 3), Ok((vec![3, 1, 0], vec![])));
    }

    #[test]
    fn a_prompt_without_anything_left_to_cut_says_how_much_is_missing() {
        assert_eq!(cut(&[-3, 1], &[1], 5), Err(3));
        assert_eq!(cut(&[-3], &[], 0), Ok((vec![3], vec![])));
    }

    #[test]
    fn what_comes_last_is_kept_when_the_start_is_cut() {
        let mut parts = side(&[-2, 3, 4]);
        assert_eq!(truncate_start(parts.iter_mut(), 5), Ok(()));
        assert_eq!(
            parts.iter().map(|part| part.ids.clone()).collect::<Vec<_>>(),
            [vec![0, 1], vec![], vec![2, 3]]
        );
        assert_eq!(truncate_start(parts.iter_mut(), 3), Err(1));
    }

    proptest! {
        #[test]
        fn exactly_the_excess_is_cut_and_only_from_ends_of_shortenable_parts(
            a in proptest::collection::vec(-6..6i32, 0..4),
            b in proptest::collection::vec(-6..6i32, 0..4),
            excess in 0..20usize,
        ) {
            let (before_a, before_b) = (side(&a), side(&b));
            let (mut after_a, mut after_b) = (before_a.clone(), before_b.clone());
            let all = |s: &[TokenPart]| lengths(s).iter().sum::<usize>();
            let available = num_shortenable(&before_a) + num_shortenable(&before_b);
            let result = truncate(&mut after_a, &mut after_b, excess);
            prop_assert_eq!(result, if excess <= available { Ok(()) } else { Err(excess - available) });
            let cut = all(&before_a) + all(&before_b) - all(&after_a) - all(&after_b);
            prop_assert_eq!(cut, excess.min(available));
            for (before, after) in before_a.iter().chain(&before_b).zip(after_a.iter().chain(&after_b)) {
                prop_assert!(before.ids.starts_with(&after.ids));
                prop_assert!(before.shortenable || before == after);
            }
        }
    }
}
