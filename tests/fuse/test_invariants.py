"""Which test holds which invariant of methods.md (sections 0 to 3 and 5), and that no strategy goes without.

The tables name tests; the tests here look them up, so that a test that is renamed, skipped or no longer run for every
strategy is missed. A strategy that joins STRATEGIES without its own invariants, or that a cross-method assertion does
not run for, fails.
"""

import importlib.util
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from mmcache.fuse.strategies import STRATEGIES

TESTS = Path(__file__).parent.parent
EVERY = "fuse/test_every_strategy.py::"
MASKED = "fuse/evaluation/test_masked_runs.py::"
INCOMPLETE = "fuse/evaluation/test_incomplete_sets.py::"
MASKS = "fuse/test_masks.py::"
PROTOCOLS = "fuse/protocols/test_invariants.py::"
PUBLISHED = "fuse/protocols/test_published.py::"
OWN = "fuse/strategies/"
LOSSES = "fuse/losses/test_between_modalities.py::"
LABELS = "fuse/losses/test_labels.py::"
MIDL = "fuse/test_time/test_midl.py::"
ADAPTER = "fuse/test_time/test_adapter.py::"
MBT = "fuse/fusion/test_mbt.py::"
POOLED = "fuse/fusion/test_pooled.py::"

# What holds of every strategy, and the tests that run once for each of them.
EACH = {
    "0: an absent modality's tokens change no bit of output, loss or gradient": (
        EVERY + "test_absent_tokens_change_no_bit",
        EVERY + "test_absent_tokens_change_no_bit_in_training_mode",
        EVERY + "test_absent_tokens_change_no_bit_of_what_is_averaged_or_adapted",
    ),
    "0: losses learn from what was dropped, predictions do not": (
        EVERY + "test_dropped_tokens_never_reach_the_prediction",
        EVERY + "test_dropped_is_as_good_as_absent",
    ),
    "0: key padding": (EVERY + "test_padding_past_a_length_changes_nothing",),
    "1.1: incomplete training sets; sensors that are nowhere at test": (
        INCOMPLETE + "test_it_learns_from_an_incomplete_training_set",
        INCOMPLETE + "test_a_sensor_may_be_nowhere_at_test",
        INCOMPLETE + "test_a_store_may_lack_a_sensor_altogether",
        INCOMPLETE + "test_a_sensor_that_training_never_has",
        EVERY + "test_a_modality_nobody_has_may_be_left_out",
    ),
    "5.1: with nothing missing it is its plain fusion": (
        EVERY + "test_with_nothing_missing_a_strategy_is_its_plain_fusion",
    ),
    "5.2: logits do not depend on the other rows and their masks": (
        EVERY + "test_logits_do_not_depend_on_the_rest_of_the_batch",
        EVERY + "test_logits_do_not_depend_on_the_masks_of_other_rows",
    ),
    "5.3: the order of modalities does not matter": (EVERY + "test_order_of_modalities_does_not_matter",),
    "5.4: acc(r) is that of a masked run; the drop curve that of drawn masks": (
        MASKED + "test_the_rate_curve_is_that_of_runs_without_the_sensor",
        MASKED + "test_the_drop_curve_is_the_mean_of_drawn_masks",
        MASKED + "test_random_models_answer_by_what_they_see",
    ),
    "5.5: the sets that lack a sensor are nested, of round(r N) segments": (
        MASKED + "test_the_rate_curve_is_that_of_runs_without_the_sensor",
    ),
    "5.6: a segment with nothing is an error": (EVERY + "test_a_segment_with_nothing_is_refused",),
}

# What holds of one strategy. `midl` adapts any trained run, so that its tests run for every strategy besides.
STRATEGY: dict[str, dict[str, tuple[str, ...]]] = {
    "zeros": {
        "3.1: with an unbiased projector it is MMT with e_m = 0": (
            OWN + "test_mmt.py::test_zeros_with_an_unbiased_projector_are_mmt_with_zero_tokens",
        ),
        "1.1: it learns from complete segments alone": (
            "fuse/test_training.py::test_zeros_trains_on_complete_segments_only",
        ),
    },
    "skip": {
        "3.16: masked is as good as removed": (
            OWN + "test_controls.py::test_a_modality_left_out_is_as_good_as_removed",
        )
    },
    "dropout": {
        "3.1: p = 0 is plain training": (
            OWN + "test_controls.py::test_dropping_nothing_is_plain_training_with_the_same_seed",
        )
    },
    "moddrop": {
        "3.16: masked is as good as removed": (
            OWN + "test_controls.py::test_a_modality_left_out_is_as_good_as_removed",
        ),
        "3.16: p = 0 is plain training": (
            OWN + "test_moddrop.py::test_without_dropping_it_is_plain_training_with_the_same_seed",
        ),
    },
    "mmt": {
        "3.1: delta = 1: output and gradients but e_m's are plain fusion's, bitwise": (
            OWN + "test_mmt.py::test_complete_segments_are_plain_fusion_to_the_bit",
        ),
        "3.1: the gradient of e_m is 0 for a batch that lacks nothing": (
            OWN + "test_mmt.py::test_mmt_token_is_untouched_by_complete_segments",
        ),
        "3.1: zeros with an unbiased projector are e_m = 0": (
            OWN + "test_mmt.py::test_zeros_with_an_unbiased_projector_are_mmt_with_zero_tokens",
        ),
    },
    "actionmae": {
        "3.4: another decoder output at kept slots leaves the loss": (
            OWN + "test_actionmae.py::test_reconstruction_counts_for_what_was_dropped_alone",
        ),
        "3.4: K = 0: no loss to be NaN": (
            OWN + "test_actionmae.py::test_with_nothing_dropped_there_is_no_loss_to_be_nan",
        ),
        "3.4: the loss is 0 where the reconstruction is right": (
            OWN + "test_actionmae.py::test_the_target_is_the_vector_that_was_dropped",
            LOSSES + "test_reconstruction_is_the_mean_error_of_what_is_known",
        ),
        "3.4: where the code differs, an option says so": (
            OWN + "test_actionmae.py::test_the_code_differs_from_the_paper_in_named_options",
        ),
    },
    "map": {
        "3.7: a batch of one pattern trains its prompts alone": (
            OWN + "test_map.py::test_a_batch_of_one_pattern_trains_the_prompts_of_that_pattern",
        ),
        "3.7: the backbone gets no gradient and stays as it was": (
            OWN + "test_map.py::test_the_backbone_is_that_of_the_run_it_starts_from",
            "fuse/test_start.py::test_what_both_have_is_copied_and_the_backbone_frozen_if_asked",
        ),
        "3.7: input prompts stay, L_p a layer": (
            OWN + "test_map.py::test_input_prompts_stay_and_attention_prompts_leave_the_length",
        ),
    },
    "map-attention": {
        "3.7: a batch of one pattern trains its prompts alone": (
            OWN + "test_map.py::test_a_batch_of_one_pattern_trains_the_prompts_of_that_pattern",
        ),
        "3.7: the length stays as it is": (
            OWN + "test_map.py::test_input_prompts_stay_and_attention_prompts_leave_the_length",
        ),
    },
    "shaspec": {
        "3.9: the shared loss is 0 for equal parts": (
            LOSSES + "test_shared_loss_is_zero_for_equal_parts_and_counts_pairs_that_are_there",
        ),
        "3.9: |S| = 1: every stand-in is that shared part": (
            OWN + "test_shaspec.py::test_with_one_modality_every_stand_in_is_its_shared_part",
        ),
        "3.9: CE of the modality is ln M for a uniform classifier": (
            LOSSES + "test_an_undecided_classifier_of_modalities_costs_log_of_their_number",
        ),
    },
    "compass": {
        "3.12: complete segments do not depend on any generator": (
            OWN + "test_proxies.py::test_complete_segments_do_not_depend_on_any_generator",
        ),
        "3.12: M = 2: the mean over one source is that proxy": (
            OWN + "test_proxies.py::test_with_two_modalities_the_mean_over_sources_is_the_one_proxy",
        ),
        "3.12: VICReg": (LOSSES + "test_vicreg_terms",),
    },
    "cmpt": {
        "3.12: complete segments do not depend on any generator": (
            OWN + "test_proxies.py::test_complete_segments_do_not_depend_on_any_generator",
        ),
        "3.12: M = 2: the mean over one source is that proxy": (
            OWN + "test_proxies.py::test_with_two_modalities_the_mean_over_sources_is_the_one_proxy",
        ),
    },
    "macjepa": {
        "3.15: without its losses and masks it is plain fusion": (
            OWN + "test_macjepa.py::test_without_its_losses_it_is_plain_fusion",
        ),
        "3.15: momentum 1 keeps the teacher": (OWN + "test_macjepa.py::test_the_teacher_follows_at_its_own_pace",),
        "3.15: another query leaves the rest as it is": (OWN + "test_macjepa.py::test_nobody_reads_the_query",),
    },
    "karmma-teacher": {
        "3.2: missing modalities are simply absent": (
            OWN + "test_karmma.py::test_karmma_keeps_the_number_of_tokens",
            OWN + "test_controls.py::test_a_modality_left_out_is_as_good_as_removed",
        ),
    },
    "karmma": {
        "3.2: k-average: identity for n <= k, the mean where k divides n, min(n, k) tokens": (
            "store/format/test_kaverage.py::test_short_sequences_stay_as_they_are",
            "store/format/test_kaverage.py::test_the_mean_is_preserved_when_k_divides_the_length",
            "store/format/test_kaverage.py::test_the_output_has_the_lesser_of_length_and_k_tokens",
        ),
        "3.2: a = 1: the loss is CE and no teacher is called": (
            "fuse/test_objective.py::test_alpha_shares_out_between_labels_and_teacher",
            "fuse/test_teacher.py::test_alpha_one_needs_no_teacher_and_none_is_trained",
        ),
        "3.2: equal logits: L_KD = 0": (LABELS + "test_distillation_is_zero_for_equal_logits_and_positive_otherwise",),
        "3.2: the number of tokens never changes": (OWN + "test_karmma.py::test_karmma_keeps_the_number_of_tokens",),
    },
    "radevski": {
        "3.3: weights add up to 1; tau -> inf uniform, -> 0 the best": (
            OWN + "test_radevski.py::test_weights_add_up_to_one",
        ),
        "3.3: equal CE, equal weights": (OWN + "test_radevski.py::test_equally_good_teachers_weigh_the_same",),
        "3.3: s = t: L = 0": (
            OWN + "test_radevski.py::test_a_student_that_agrees_loses_nothing_and_temperature_keeps_the_scale",
        ),
        "3.3: renormalised over the teachers that are there": (
            OWN + "test_radevski.py::test_without_a_modality_the_others_weigh_more",
        ),
    },
    "mmanet": {
        "3.10: MAD = 0 for scaled features": (OWN + "test_mmanet.py::test_relations_do_not_see_scale",),
        "3.10: MAR = 0 if nothing has a weak mask": (
            OWN + "test_mmanet.py::test_only_weak_segments_count_and_they_are_shared_by_the_whole_batch",
        ),
    },
    "mmg": {
        "3.5: alignment of aligned orthogonal pairs vanishes with tau": (
            LOSSES + "test_alignment_of_aligned_orthogonal_pairs_vanishes_with_the_temperature",
        ),
        "3.5: log(1 + #neg) where all embeddings coincide": (
            LOSSES + "test_alignment_of_equal_embeddings_is_log_of_the_number_to_choose_from",
        ),
        "3.5: one-shot queries that repeat their supports are all right": (
            OWN + "test_mmg.py::test_queries_that_repeat_distinct_supports_are_all_right",
            "fuse/evaluation/test_fewshot.py::test_queries_that_repeat_distinct_supports_are_all_right",
        ),
    },
    "midl": {
        "3.6: MI >= 0, 0 only where all views agree": (
            MIDL + "test_information_is_positive_and_zero_only_where_all_views_agree",
        ),
        "3.6: KL and its gradient are 0 at the start": (
            MIDL + "test_at_the_start_the_divergence_is_zero_and_so_is_its_gradient",
        ),
        "3.6: r_test = 100 % or lr = 0: no adaptation": (
            ADAPTER + "test_it_is_no_adaptation_without_a_rate",
            MIDL + "test_it_is_no_adaptation_without_complete_segments",
            "fuse/evaluation/test_adapted.py::test_with_everything_missing_nothing_adapts",
        ),
        "3.6: all but LayerNorms stay, bitwise": (ADAPTER + "test_only_layer_norms_move",),
        "3.6: on any trained model": (ADAPTER + "test_any_model_adapts_and_stays_as_it_is",),
    },
}

# What holds of what strategies share: masks, protocols, fusions.
SHARED = {
    "0: P(S) of every law, by chi-square": (
        MASKS + "test_frequencies_follow_the_law",
        MASKS + "test_frequencies_over_batches_follow_the_law",
        MASKS + "test_windows_lack_one_modality_at_most",
        "fuse/test_mask_keys.py::test_the_chi_square_sees_a_wrong_law",
    ),
    "0: what is drawn once a batch, and what for each segment": (
        MASKS + "test_what_is_drawn_once_a_batch_is_the_same_within_it",
    ),
    "0: the key is (seed, epoch, segment id)": (
        MASKS + "test_draws_depend_on_seed_epoch_and_segment_alone",
        "fuse/test_mask_keys.py::test_masks_are_the_same_for_any_batches_ranks_readers_and_order",
        "fuse/test_mask_keys.py::test_masks_are_the_same_in_every_process",
    ),
    "0: something is always kept, nothing absent is": (MASKS + "test_nothing_absent_is_kept_and_nothing_is_emptied",),
    "0: sum fusion": (POOLED + "test_sum_is_the_sum_of_what_is_there",),
    "0: concat: weight slices, |S| / M of the bias": (
        POOLED + "test_concat_uses_its_weight_slices_and_its_share_of_the_bias",
    ),
    "0: late fusion": (POOLED + "test_late_fusion_is_the_mean_of_unimodal_logits",),
    "1.1: nested, round(r N); linear": (
        PROTOCOLS + "test_missing_sets_are_nested_and_of_the_right_size",
        PUBLISHED + "test_rates_between_the_ends_are_the_published_ones",
    ),
    "1.1: train sets: how many lack what, nested": (
        "fuse/test_missingness.py::test_as_many_segments_lack_it_as_the_rate_says",
        "fuse/test_missingness.py::test_sets_are_nested_in_the_rate_and_change_with_the_seed",
    ),
    "1.2: p = 0 is Acc(full), p -> 1 the mean of unimodal": (
        PROTOCOLS + "test_every_curve_starts_at_the_full_accuracy",
        PUBLISHED + "test_the_drop_curve_ends_at_the_mean_of_single_modalities",
    ),
    "1.2: the published curves within a point": (
        PUBLISHED + "test_the_drop_curve_is_within_a_point_of_the_published_one",
    ),
    "1.2: Monte Carlo": (PUBLISHED + "test_drop_curve_agrees_with_drawn_masks",),
    "1.3: AvgRelDrop = -100 mean delta / Acc(full)": (PUBLISHED + "test_mean_delta_is_the_published_one",),
    "1.3: ranks average to (K + 1) / 2; 13 / 7": (
        PROTOCOLS + "test_ranks_average_to_their_middle",
        PROTOCOLS + "test_the_better_method_has_the_smaller_rank",
    ),
    "1.4: an action is right where verb and noun are": (
        "fuse/evaluation/test_results.py::test_figures_of_a_table_made_by_hand",
    ),
    "1.5: MAP's table: exact counts, saved": (
        "fuse/test_missingness.py::test_a_table_has_the_counts_of_map_and_survives_its_file",
        PROTOCOLS + "test_patterns_lose_every_modality_equally_often",
    ),
    "1.6: few-shot over new classes, any pair of modality sets": (
        "fuse/evaluation/test_fewshot.py::test_every_pair_of_modality_sets_is_told",
    ),
    "1.7: a constant has its area, late fusion effective robustness 0": (
        PROTOCOLS + "test_robustness_of_constants_and_of_the_reference",
        "fuse/evaluation/test_comparison.py::test_effective_robustness_of_the_reference_is_zero",
    ),
    "1.8: windows within a segment are nested": (
        "fuse/evaluation/test_windows.py::test_less_is_left_of_what_was_left",
    ),
    "2: L_f = L and L - 1 exchange nothing": (MBT + "test_too_late_a_fusion_layer_exchanges_nothing",),
    "2: L_f = L - 2 does": (MBT + "test_from_the_last_but_one_layer_modalities_see_each_other",),
    "2: the order of modalities does not matter": (MBT + "test_order_of_modalities_does_not_matter",),
    "2: B tokens in, B tokens out": (MBT + "test_bottlenecks_are_as_many_in_every_layer_and_gone_at_the_end",),
    "2: a missing modality is left out of the mean": (MBT + "test_bottlenecks_average_over_what_is_there",),
    "3.17: a frame changes no token before it; padded boxes change nothing": (
        "extract/encoders/test_stlt.py::test_a_frame_changes_no_token_before_it",
        "extract/encoders/test_stlt.py::test_padding_changes_nothing_and_neither_do_the_order_of_boxes_and_scores",
    ),
}

_MODULES: dict[str, ModuleType] = {}


def found(name: str) -> tuple[object, list[pytest.Mark]]:
    """The test of that name and its marks. Fails where there is none."""
    path, _, function = name.partition("::")
    if path not in _MODULES:
        spec = importlib.util.spec_from_file_location(f"looked_up_{len(_MODULES)}", TESTS / path)
        assert spec is not None
        assert spec.loader is not None
        _MODULES[path] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(_MODULES[path])
    test = getattr(_MODULES[path], function, None)
    assert callable(test), f"there is no test {name}"
    return test, list(getattr(test, "pytestmark", []))


def strategies_of(marks: list[pytest.Mark]) -> set[str]:
    """The strategies that a test runs for, by its parametrize marks."""
    names: set[str] = set()
    for mark in marks:
        if mark.name == "parametrize" and "strategy" in _arguments(mark):
            place = _arguments(mark).index("strategy")
            names |= {_values(case)[place] for case in mark.args[1] if not _is_skipped(case)}
    return names


def _arguments(mark: pytest.Mark) -> list[str]:
    given = mark.args[0]
    return [part.strip() for part in given.split(",")] if isinstance(given, str) else list(given)


def _values(case: object) -> tuple:
    """What one case of a parametrize mark passes on."""
    values = getattr(case, "values", case)  # pytest.param, or as it stands
    return tuple(values) if isinstance(values, tuple) else (values,)


def _is_skipped(case: object) -> bool:
    return any(mark.name in ("skip", "skipif") for mark in getattr(case, "marks", ()))


def gaps(strategies: Collection[str], own: Mapping[str, object], each: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Every strategy and invariant that no test holds."""
    for strategy in strategies:
        if not own.get(strategy):
            yield f"{strategy} has no invariants of its own"
        for invariant, tests in each.items():
            for test in tests:
                if strategy not in strategies_of(found(test)[1]):
                    yield f"{test} does not run for {strategy} ({invariant})"


def test_every_strategy_has_its_invariants_and_all_that_hold_of_each() -> None:
    assert list(gaps(STRATEGIES, STRATEGY, EACH)) == []
    assert set(STRATEGY) == set(STRATEGIES)


def test_the_six_cross_method_assertions_are_all_there() -> None:
    assert {name.split(":")[0] for name in EACH if name.startswith("5.")} == {f"5.{i}" for i in range(1, 7)}


def test_a_strategy_without_them_is_found_out() -> None:
    """A new line in the table of strategies, and nothing else."""
    missing = list(gaps([*STRATEGIES, "newcomer"], STRATEGY, EACH))
    assert len(missing) == 1 + sum(len(tests) for tests in EACH.values())
    assert all("newcomer" in line for line in missing)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_invariants_of_a_strategy_are_tests_that_run(strategy: str) -> None:
    for tests in STRATEGY[strategy].values():
        for test in tests:
            assert not {mark.name for mark in found(test)[1]} & {"skip", "skipif", "xfail", "slow"}, test


@pytest.mark.parametrize("invariant", [*SHARED, *EACH])
def test_what_is_shared_is_held_by_tests_that_run(invariant: str) -> None:
    for test in {**SHARED, **EACH}[invariant]:
        assert not {mark.name for mark in found(test)[1]} & {"skip", "skipif", "xfail", "slow"}, test
