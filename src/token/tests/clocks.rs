//! Clocks that are wrong, jump, or stand still.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_past_a_tokens_end_does_not_use_it() {
    let world = World::new(&[Say::Token(3600)]);
    assert_eq!(text(world.tokens.get(&app(), None).await), "token-1");
    world.shift_wall(2 * 3600); // asleep: the monotonic clock stood still
    assert_eq!(text(world.tokens.get(&app(), None).await), "token-2");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_renews_without_being_asked() {
    let world = World::new(&[Say::Token(3600)]);
    world.tokens.get(&app(), None).await.unwrap();
    world.shift_wall(2 * 3600);
    sleep(seconds(61)).await;
    assert_eq!(world.entra.asked(), 2);
    let start = Instant::now();
    assert_eq!(text(world.tokens.get(&app(), None).await), "token-2");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_ten_minutes_wrong_from_the_start_changes_nothing() {
    for wrong in [-600, 600] {
        let world = World::new(&[Say::Token(3600)]);
        world.shift_wall(wrong);
        world.tokens.get(&app(), None).await.unwrap();
        sleep(seconds(2990)).await;
        assert_eq!(text(world.tokens.get(&app(), None).await), "token-1", "{wrong}");
        sleep(seconds(15)).await;
        assert_eq!(world.entra.asked(), 2, "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_back_gives_no_token_a_longer_life() {
    let world = World::new(&[Say::Token(3600), Say::NoWay]);
    world.tokens.get(&app(), None).await.unwrap();
    world.shift_wall(-600);
    sleep(seconds(3595)).await;
    assert!(world.tokens.get(&app(), None).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_acceptance_ends_while_the_machine_sleeps() {
    let world = World::new(&[Say::Token(48 * 3600), WRONG_PASSWORD]);
    world.tokens.get(&user(), Some(&pw("right"))).await.unwrap();
    world.shift_wall(13 * 3600);
    assert!(world.tokens.get(&user(), Some(&pw("right"))).await.is_err(), "changed meanwhile");
}
