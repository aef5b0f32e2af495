package harvest

import "time"

// OfferEvery is how often the cores that an office PC or a laptop offers change at most: more often, whoever listens to
// gossip could tell when the owner came and went.
const OfferEvery = 10 * time.Minute

// Offer is what others may know of decisions: so many cores, or none. In use, paused and switched off by the policy look
// the same.
type Offer struct {
	Cores int
	slot  int64 // of the last look; the first counts as a change
}

// Next returns the offer after a decision. It changes only at the beginnings of periods that have nothing to do with
// the owner: what happens within one shows at its end, if it still holds. An agent without an owner has every 0 and
// changes at once; shift moves the beginnings, so that not all agents change together.
func (o Offer) Next(cores int, now time.Time, every, shift time.Duration) Offer {
	if every <= 0 {
		return Offer{Cores: cores}
	}
	slot := now.Add(shift).UnixNano() / int64(every)
	if slot == o.slot {
		return o
	}
	return Offer{Cores: cores, slot: slot}
}
