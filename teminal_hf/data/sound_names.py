"""Names of everyday sounds, and sentences that name them: what the starting model's opinion is asked about, whatever
is trained on. They are plain words of ours, no data set's classes; which of them a clip collection has is no matter."""

NAMES: tuple[str, ...] = tuple(
    name.strip()
    for name in (
        # people
        "speech, man speaking, woman speaking, child speaking, conversation, whispering, shouting, screaming, laughter, giggling, "
        "crying, sobbing, baby crying, singing, choir, humming, whistling, breathing, snoring, coughing, sneezing, yawning, "
        "hiccup, burping, throat clearing, heartbeat, footsteps, running, clapping, applause, cheering, crowd, chewing, drinking, "
        "gargling, brushing teeth, finger snapping, "
        # animals
        "dog barking, dog howling, cat meowing, cat purring, horse neighing, horse trotting, donkey braying, cow mooing, pig, goat, "
        "sheep bleating, chicken, rooster crowing, turkey gobbling, duck quacking, goose honking, lion roaring, tiger, bear, wolf, "
        "elephant, monkey, mouse squeaking, bird singing, pigeon cooing, crow cawing, owl hooting, parrot, seagull, insects, "
        "crickets, bee buzzing, mosquito, fly, frog croaking, snake hissing, whale, dolphin, "
        # music
        "music, guitar, electric guitar, bass, banjo, violin, cello, harp, piano, organ, accordion, flute, clarinet, saxophone, "
        "trumpet, trombone, harmonica, bagpipes, drum, drum roll, cymbal, tambourine, xylophone, synthesizer, music box, "
        # home and tools
        "door closing, door knocking, doorbell, door creaking, drawer, window, lock and key, stairs, telephone ringing, "
        "alarm clock, clock ticking, clock striking, typing on a keyboard, mouse click, printer, camera shutter, cash register, "
        "coins, dishes, cutlery, glass breaking, glass clinking, can opening, bottle, kettle, frying, boiling, microwave, blender, "
        "water tap, pouring water, dripping, sink, bath, shower, toilet flush, washing machine, vacuum cleaner, hair dryer, fan, "
        "air conditioning, sewing machine, scissors, zipper, paper, cardboard, plastic bag, hammer, hand saw, chainsaw, drill, "
        "sanding, lawn mower, pump, "
        # traffic and machines
        "car, car horn, car passing by, engine starting, engine idling, skidding, truck, bus, motorcycle, bicycle bell, train, "
        "train horn, subway, tram, aeroplane, helicopter, boat, ship horn, siren, fire alarm, smoke detector, reversing beeps, "
        "steam, factory, jackhammer, explosion, gunshot, fireworks, "
        # nature and the rest
        "rain, thunder, wind, storm, sea waves, stream, waterfall, fire crackling, leaves rustling, snow, ice, gravel, mud, splash, "
        "bubbles, church bells, wind chimes, gong, bell, buzzer, beep, hum, hiss, static, white noise, echo, click, tick, thump, bang, "
        "crash, crunch, squeak, creak, rattle, scrape, whoosh, silence"
    ).split(",")
)

SENTENCES = (
    "the sound of {}",
    "this is a sound of {}",
    "{}",
    "a recording of {}",
    "i can hear {}",
    "there is {} in the background",
    "{} sound",
    "we hear {} here",
)
