package harvest

import "time"

// OfferEvery is how often the cores that an office PC or a laptop offers change at most: more often, whoever listens to
// gossip could tell when the owner came and went.
const OfferEvery = 10 * time.Minute

// Offer is what others may know of decisions: so many cores, or none. In use, paused and switched off by the policy look
// the same. The zero Offer is that of an agent that has just started.
type Offer struct {
	Cores int
	slot  time.Duration // the number of the period of the last look
}

// Next returns the offer after a decision, some time after a moment that has nothing to do with the owner, by a clock that
// nobody sets. From then on it changes only where a period begins: what happens within one shows at its end, if it still
// holds. An agent without an owner has every 0 and changes at once.
func (o Offer) Next(cores int, passed, every time.Duration) Offer {
	if every <= 0 {
		return Offer{Cores: cores}
	}
	slot := passed / every
	if slot == o.slot {
		return o
	}
	return Offer{Cores: cores, slot: slot}
}
