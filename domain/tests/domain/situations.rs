//! What pulsegate does in which situation, one after another; `script.rs` says how to read a line.

use crate::script::play;

macro_rules! situations {
    ($($name:ident: $script:literal)+) => { $(#[test] fn $name() { play($script); })+ };
}

situations! {
// Limits (rule 7).

two_play_and_the_third_is_told_no: "
    0s   A starts            -> A allowed account 1/2; decided grant:A
    1s   B starts            -> B allowed account 2/2
    2s   C starts            -> C limit_reached account 2/2 with A,B frees 23s full; decided refuse:C
    3s   A beats             -> A allowed; C limit_reached with A,B frees 23s
"
one_stops_and_the_third_plays: "
    0s   A starts
    1s   B starts
    2s   C starts            -> C limit_reached
    3s   A stops             -> A stopped; C limit_reached account 1/2 with B frees 0s room; decided end:A:stopped
    4s   C starts            -> C allowed account 2/2; decided grant:C
"
a_blocked_player_waits_and_asks_again_with_a_start: "
    0s   A starts
    0s   B starts
    1s   C starts            -> C limit_reached
    9s   A beats
    9s   B beats
    11s  C waits             -> C limit_reached
    12s  B stops
    21s  C waits             -> C limit_reached room; decided
    22s  C starts            -> C allowed
"
a_refusal_is_told_again_only_when_others_stand_in_the_way: "
    0s   A starts
    0s   B starts
    1s   C starts            -> decided refuse:C
    2s   C starts            -> C limit_reached; decided
    3s   B stops
    4s   D starts            -> D allowed
    5s   C starts            -> C limit_reached with A,D; decided refuse:C
"
a_retried_start_is_the_same_start: "
    0s   A starts
    1s   B starts
    2s   B starts            -> B allowed account 2/2; decided
    3s   B starts evict A    -> A allowed; B allowed; decided
    27s  check               -> A lease_expired; B allowed account 1/2
"
a_front_end_that_sends_only_heartbeats_gets_its_slot: "
    0s   A beats             -> A allowed; decided grant:A
    1s   B seeks             -> B allowed
    2s   C buffers           -> C limit_reached
"
paused_and_waiting_players_do_not_ask: "
    0s   A pauses            -> A not_asked account 0/2 room frees 0s; decided
    10s  A waits             -> A not_asked
    20s  A beats             -> A allowed
"
the_oldest_makes_room_where_the_policy_says_so: "
    policy swap@1: account 2 displaces
    plan swap@1
    0s   A starts
    1s   B starts
    2s   C starts            -> A displaced by C full; B allowed; C allowed 2/2; decided end:A:displaced grant:C
    3s   A beats             -> A displaced; B allowed; C allowed; decided
"
who_lost_a_slot_and_comes_back_gets_a_new_rank: "
    policy swap@1: account 2 displaces
    plan swap@1
    0s   A starts
    1s   B starts
    20s  B beats
    30s  A beats             -> A allowed; decided grant:A
    31s  C starts            -> B displaced by C; A allowed
"
max_0_forbids_and_never_frees: "
    policy none@1: account 0
    policy rude@1: account 0 displaces
    0s   A starts under none@1 -> A limit_reached account 0/0 frees never full; decided refuse:A
    1s   B starts
    2s   C starts under rude@1 -> C limit_reached 1/0 with B frees never; B allowed
"
the_first_full_rule_that_refuses_is_named: "
    policy two@1: account 2, device_class:tv 1, title 1
    plan two@1
    0s   A starts as tv of film
    1s   B starts as tv of film   -> B limit_reached device_class:tv 1/1 with A
    2s   C starts as web of film  -> C limit_reached title 1/1 with A
    3s   D starts as web of other -> D allowed account 2/2
    4s   E starts as tv of film   -> E limit_reached account 2/2 with A,D
"
nobody_is_displaced_when_another_rule_refuses: "
    policy mixed@1: account 1 displaces, title 1
    plan mixed@1
    0s   A starts of film
    1s   B starts of film    -> B limit_reached title 1/1 with A; A allowed
    2s   B stops
    3s   C starts of other   -> A displaced by C; C allowed
"
a_lower_limit_ends_nobody_but_the_next_ask_meets_it: "
    policy one@1: account 1
    0s   A starts
    0s   B starts            -> B allowed 2/2
    9s   A beats under one@1 -> A allowed account 2/1; B allowed account 2/2
    9s   B beats under one@1 -> B allowed account 2/1
    10s  B stops
    11s  C starts under one@1 -> C limit_reached account 1/1 with A
    12s  C starts            -> C allowed account 2/2
"
everybody_is_counted_whatever_their_own_policy: "
    policy wide@1: account 9
    0s   A starts under wide@1
    0s   B starts under wide@1
    0s   C starts under wide@1 -> C allowed 3/9
    1s   D starts            -> D limit_reached account 3/2 with A,B,C frees 24s
"

// Scopes.

devices_of_a_class_are_counted_together: "
    policy tv@1: account 9, device_class:tv 1
    plan tv@1
    0s   A starts as tv
    1s   B starts as mobile  -> B allowed account 2/9
    2s   C starts as tv      -> C limit_reached device_class:tv 1/1 with A
    3s   D starts            -> D allowed account 3/9
"
live_streams_are_counted_together: "
    policy live@1: content_kind:live 1
    plan live@1
    0s   A starts kind live  -> A allowed content_kind:live 1/1
    1s   B starts kind vod   -> B allowed
    2s   C starts kind live  -> C limit_reached content_kind:live 1/1 with A
    3s   D starts            -> D allowed
"
streams_of_a_title_are_counted_together: "
    policy title@1: title 1
    plan title@1
    0s   A starts of film
    1s   B starts of film    -> B limit_reached title 1/1 with A
    2s   C starts of other   -> C allowed title 1/1
"
streams_in_a_territory_are_counted_together: "
    policy home@1: territory 1
    plan home@1
    0s   A starts in DE
    1s   B starts in FR      -> B allowed territory 1/1
    2s   C starts in DE      -> C limit_reached territory 1/1 with A
    3s   D starts            -> D allowed
    4s   E starts in ZZ      -> E limit_reached territory 1/1 with D
"
streams_of_a_rights_holder_are_counted_together_where_one_is_known: "
    policy owner@1: rights_holder 1
    plan owner@1
    0s   A starts owned-by studio-a
    1s   B starts owned-by studio-a -> B limit_reached rights_holder 1/1 with A
    2s   C starts owned-by studio-b -> C allowed
    3s   D starts            -> D allowed
    4s   E starts            -> E allowed
"
a_change_of_territory_asks_nothing: "
    policy home@1: territory 1
    plan home@1
    0s   A starts in DE
    1s   B starts in FR
    9s   B beats in DE       -> A allowed territory 2/1; B allowed territory 2/1; decided
    10s  C starts in FR      -> C allowed territory 1/1
    11s  B stops
    12s  D starts in DE      -> D limit_reached territory 1/1 with A
"

// Leases (rule 1).

a_crashed_player_is_free_after_25_s: "
    0s      A starts
    0s      B starts
    10s     A beats
    24.999s check            -> B allowed
    25s     check            -> B lease_expired room; A allowed 1/2
    25s     C starts         -> C allowed account 2/2
"
a_check_between_events_needs_no_event: "
    0s      A starts
    5s      B starts
    6s      C starts         -> C limit_reached with A,B frees 19s
    24.999s check            -> C limit_reached with A,B frees 1ms full
    25s     check            -> C limit_reached account 1/2 with B frees 0s room
"
a_licence_at_the_start_does_not_hold_a_crashed_players_slot: "
    0s   A starts on sofa
    1s   licence on sofa     -> for A
    10s  A beats
    34s  check               -> A allowed
    35s  check               -> A lease_expired
"
a_mute_player_is_judged_by_its_signals: "
    0s    A beats on sofa
    1s    licence on sofa    -> for A
    20s   segment on sofa    -> for A
    51s   check              -> A allowed
    5m30s check              -> A allowed
    5m31s check              -> A lease_expired
"
a_player_back_from_a_tunnel_asks_anew: "
    0s   A starts
    40s  B starts
    41s  C starts
    42s  A beats             -> A limit_reached with B,C
    43s  C stops
    44s  A beats             -> A allowed
"

// Pauses (rule 2).

paused_too_long_loses_the_slot: "
    policy short@1: account 1, hold 30s
    plan short@1
    0s      A beats
    10s     A pauses         -> A allowed
    20s     A pauses
    30s     A pauses
    40s     A pauses         -> A allowed
    40s     check            -> A allowed
    40.001s check            -> A paused_too_long account 0/1 room
    41s     B starts         -> B allowed
    42s     A pauses         -> A paused_too_long
    43s     A beats          -> A limit_reached with B
"
signals_neither_end_a_pause_nor_ask_during_one_that_is_too_long: "
    policy short@1: account 1, hold 30s
    plan short@1
    0s   A beats on sofa
    10s  A pauses
    11s  licence on sofa     -> for A; A allowed
    41s  segment on sofa     -> for A; A paused_too_long; decided
    42s  A seeks             -> A allowed; decided grant:A
    43s  segment on sofa     -> A allowed
"
a_start_ends_a_pause: "
    policy short@1: account 1, hold 30s
    plan short@1
    0s   A beats
    10s  A pauses
    34s  A starts            -> decided
    55s  A beats             -> A allowed; decided
"
waiting_does_not_end_a_pause: "
    policy short@1: account 1, hold 20s
    plan short@1
    0s      A beats
    5s      A pauses
    15s     A waits
    25s     check            -> A allowed
    25.001s check            -> A paused_too_long
"
what_took_the_slot_first_is_the_reason: "
    policy short@1: account 1, hold 10s
    plan short@1
    0s   A beats
    1s   A pauses            -> A allowed
    1h   check               -> A paused_too_long
    1h0m26s check            -> A expired
"

// The end (rule 3).

ended_is_for_ever: "
    0s   A starts
    1s   A stops             -> A stopped full
    2s   A starts            -> A stopped; decided
    3s   A beats             -> A stopped
    4s   A evicted           -> A stopped; decided
"
a_late_start_after_a_stop_revives_nothing: "
    0s   A stops             -> A stopped; decided end:A:stopped
    1s   A starts            -> A stopped; decided
    2s   B evicted           -> B evicted
    3s   B beats             -> B evicted
"
an_hour_of_silence_is_the_end: "
    0s           A starts
    1h0m24.999s  check       -> A lease_expired
    1h0m25s      check       -> A expired full
    1h0m26s      A beats     -> A expired; decided end:A:expired
"
a_pause_does_not_count_for_the_end: "
    policy short@1: account 1, hold 1s
    plan short@1
    0s           A pauses
    1h0m24.999s  A beats     -> A allowed
"
an_ended_session_is_forgotten_after_24_h_of_silence: "
    0s           A stops
    23h          A beats     -> A stopped
    46h59m59s    check       -> A stopped
    47h          check       -> A unknown
    47h          A starts    -> A allowed
"
an_expired_session_is_forgotten_24_h_after_its_last_record: "
    0s           A starts
    23h59m59s    check       -> A expired
    24h          check       -> A unknown
    24h          B starts    -> B allowed; decided grant:B
"

// Heartbeats out of order and late ones (rule 4).

a_stale_heartbeat_renews_the_lease_and_nothing_else: "
    0s   A beats seq 5 in DE
    10s  A pauses seq 5 in FR -> A allowed
    34s  check               -> A allowed
    35s  check               -> A lease_expired
    36s  A beats seq 4       -> A lease_expired room; decided
    37s  A beats seq 6       -> A allowed
"
a_stale_heartbeat_does_not_ask: "
    0s   A starts
    0s   B starts
    1s   C beats seq 3       -> C limit_reached
    2s   A stops
    3s   C beats seq 3       -> C limit_reached room
    4s   C beats seq 4       -> C allowed
"
a_stale_heartbeat_ends_the_leases_of_signals_before_it: "
    0s   A beats on sofa seq 1
    1s   licence on sofa
    2s   A beats seq 1
    26s  check               -> A allowed
    27s  check               -> A lease_expired
"
a_jump_of_100_000_is_taken_up_and_one_more_is_stale: "
    0s   A pauses seq 0
    1s   A beats seq 100000  -> A allowed
    2s   A stops
    3s   B pauses seq 0
    4s   B beats seq 100001  -> B not_asked
    5s   B beats seq 1       -> B allowed
"
an_aged_heartbeat_says_nothing_about_now: "
    0s   A beats
    24s  A beats aged 25s    -> A allowed
    25s  check               -> A lease_expired
    26s  A beats aged 24.999s -> A allowed
"
an_aged_heartbeat_opens_no_session: "
    0s   A beats aged 25s    -> A unknown; decided
    1s   A beats seq 0       -> A allowed
"
an_aged_heartbeat_is_a_record_all_the_same: "
    0s   A stops
    23h  A beats aged 24h
    46h  check               -> A stopped
"
another_device_or_title_changes_nothing: "
    0s   A starts on sofa of film
    20s  A beats on bed      -> A allowed
    20s  A beats of other    -> A allowed
    25s  check               -> A lease_expired
"

// One stream a device, and whose a signal is (rule 5).

the_next_episode_takes_over_on_its_device: "
    0s   A starts on sofa of ep1
    1s   B starts
    2s   C starts on sofa of ep2 -> A replaced by C; C allowed account 2/2; decided end:A:replaced grant:C
    3s   A beats             -> A replaced
"
the_device_goes_on_even_where_the_new_stream_is_refused: "
    policy tv@1: account 2, title 1
    plan tv@1
    0s   A starts on sofa of ep1
    1s   B starts of ep2
    2s   C starts on sofa of ep2 -> A replaced by C; C limit_reached title 1/1 with B
"
a_waiting_session_of_the_device_is_replaced_too: "
    0s   A starts
    0s   B starts
    1s   C starts on sofa    -> C limit_reached
    2s   D starts on sofa    -> C replaced by D; D limit_reached
"
with_many_a_device_plays_more_than_one: "
    policy wall@1: account 3, many
    plan wall@1
    0s   A starts on wall
    1s   B starts on wall    -> A allowed; B allowed account 2/3
    2s   licence on pc of film -> opens I; I allowed account 3/3
    3s   C starts on pc of film -> I replaced by C; C allowed
"
a_signal_without_session_goes_to_the_newest_session_that_plays_on_its_device: "
    policy wall@1: account 3, many
    plan wall@1
    0s   A starts on wall of film
    1s   B starts on wall of other
    2s   segment on wall of other -> for B
    3s   segment on wall of film  -> for B
    4s   segment on wall of third -> for B
    5s   A beats
    6s   segment on wall of other -> for A
    7s   segment on desk of third -> opens I; I allowed account 3/3
"
a_signal_of_its_title_passes_over_a_newer_session_that_does_not_play: "
    policy wall@1: account 3, many
    plan wall@1
    0s   A starts on wall of film
    1s   B starts on wall of other
    20s  A beats
    21s  B pauses seq 5
    60s  segment on wall of film -> for A; A allowed
    61s  segment on wall of third -> for A
"
a_signal_of_another_title_goes_to_a_live_session_that_a_player_named: "
    0s   A starts on sofa of film
    1s   licence on sofa of other -> for A
    40s  A beats
    66s  licence on sofa of other -> opens I; A replaced by I; I allowed
    67s  licence on sofa of third -> opens J; I replaced by J
    68s  segment on sofa of third -> for J
"
a_signal_of_the_same_title_goes_to_a_session_that_is_not_live: "
    0s   A starts on sofa of film
    30s  segment on sofa of film -> for A; A allowed; decided grant:A
"
a_players_start_takes_over_from_what_its_signals_opened: "
    0s   licence on sofa of film -> opens I; I allowed account 1/2
    1s   A starts on sofa of film -> I replaced by A; A allowed account 1/2
"
segments_after_the_end_open_nothing_for_60_s: "
    0s      A starts on sofa
    1s      A stops
    60.999s segment on sofa  -> for A; A stopped
    61s     segment on sofa  -> opens I; I allowed
"
segments_after_the_end_belong_to_it_whatever_their_title: "
    0s   A starts on sofa of film
    1s   A stops
    2s   manifest on sofa of other -> for A
"
a_licence_after_the_end_is_a_new_beginning_unless_it_was_evicted: "
    0s   A starts on sofa
    1s   A stops
    2s   licence on sofa     -> opens I; I allowed
    3s   B starts on bed
    4s   B evicted
    5s   renewal on bed      -> for B
    6s   licence on bed      -> for B; B evicted
    64s  licence on bed      -> opens J; J allowed
"
the_afterglow_ends_with_the_devices_next_session: "
    policy wall@1: account 3, many
    plan wall@1
    0s   A starts on wall of film
    1s   B starts on wall of other
    2s   A stops
    30s  segment on wall of film -> opens I; decided grant:I
"
a_signal_after_the_end_keeps_the_end_in_memory: "
    0s   A starts on sofa
    1s   A stops
    30s  segment on sofa     -> for A
    24h0m29s check           -> A stopped
    24h0m30s check           -> A unknown
"
a_named_signal_is_a_sign_of_life_and_changes_neither_device_nor_title: "
    0s   A starts on sofa of film
    20s  segment for A on bed of other -> for A
    49s  A beats             -> A allowed
    50s  segment on bed of other -> opens I
"
a_named_signal_of_an_ended_session_changes_nothing: "
    0s   A stops
    1s   licence for A on sofa -> for A; A stopped; decided
"
a_signal_is_refused_like_any_ask: "
    0s   A starts
    0s   B starts
    1s   licence on sofa     -> opens I; I limit_reached account 2/2 with A,B
"

// The viewer's choice (rule 6).

the_viewer_chooses_who_makes_room: "
    0s   A starts
    1s   B starts
    2s   C starts            -> C limit_reached
    3s   C starts evict A    -> A evicted by C; B allowed; C allowed 2/2; decided end:A:evicted grant:C
"
whoever_the_viewer_names_ends_also_when_there_was_room: "
    0s   A starts
    1s   B starts evict A    -> A evicted by B; B allowed 1/2
"
refused_even_so_ends_nobody: "
    policy tv@1: account 3, title 1
    plan tv@1
    0s   A starts of film
    1s   B starts of other
    2s   C starts of film evict B -> C limit_reached title 1/1 with A; B allowed; A allowed
    3s   C starts of film evict A,B -> A evicted by C; B evicted by C; C allowed
"
the_devices_own_sessions_are_replaced_before_the_viewers_choice: "
    0s   A starts on sofa
    1s   B starts on sofa evict A -> A replaced by B; B allowed
"
naming_itself_strangers_or_the_dead_is_harmless: "
    0s   A stops
    1s   B starts evict A,B,Z -> A stopped; B allowed; decided grant:B
    2s   Z starts            -> Z allowed
"

// When it frees (rule 8).

what_frees_first_counts_and_only_if_it_is_enough: "
    policy one@1: account 1
    0s   A starts
    5s   B starts
    6s   C starts under one@1 -> C limit_reached account 2/1 with A,B frees 24s
    6s   D starts             -> D limit_reached account 2/2 with A,B frees 19s
"
a_refusal_names_its_rule_as_long_as_the_policy_in_force_has_it: "
    policy one@1: account 1
    policy one@2: account 3
    0s   A starts under one@1
    1s   B starts under one@1 -> B limit_reached account 1/1 with A
    2s   A stops             -> B limit_reached account 0/1 room
    3s   B pauses under one@2 -> B limit_reached account 0/3 room
"
a_pause_that_ends_sooner_than_the_lease_frees_sooner: "
    policy short@1: account 1, hold 30s
    plan short@1
    0s   A beats on sofa
    1s   A pauses
    2s   licence on sofa
    3s   B starts            -> B limit_reached with A frees 28.001s
"
the_session_that_the_same_device_would_replace_is_not_in_the_way: "
    policy one@1: account 1
    plan one@1
    0s   A starts
    1s   B pauses on sofa    -> B not_asked account 1/1 full frees 24s
    2s   C pauses on A-device -> C not_asked account 0/1 room frees 0s
"
on_allow_the_rule_with_the_least_room_is_named: "
    policy three@1: account 4, device_class:tv 2, title 3
    plan three@1
    0s   A starts as web of film -> A allowed title 1/3
    1s   B starts as tv of film -> B allowed device_class:tv 1/2
    2s   C starts as tv of other -> C allowed device_class:tv 2/2; A allowed account 3/4
"

// What can't be judged.

an_event_whose_policy_nobody_knows_is_skipped_alone: "
    0s   A starts under gone@7 -> skipped; A unknown
    1s   A beats             -> A allowed
    26s  B starts under gone@7 -> skipped
    27s  check               -> A lease_expired
    30s  A stops             -> A stopped
"
}
