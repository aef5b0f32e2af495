package accounts

import (
	"cmp"
	"slices"
	"time"

	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
)

// Harvest is what was spent and offered in some time, once by hour and once by submitter.
type Harvest struct {
	Hours []Hour  // in ascending order; those without anything are left out
	By    []Share // who has most first
}

// Hour is what was spent in an hour, and what agents offered.
type Hour struct {
	Begin time.Time
	ledger.Spend
	CoreMic uint64 // offered, in microseconds of cores
}

// Share is what was spent on the work of one submitter, who may have several keys.
type Share struct {
	Name string // see Name
	ledger.Spend
}

// Harvest returns what was spent in the hours that begin at since or later and before until, on work of those submitters
// that pass, and what agents offered in them, to whomever. More than MaxRows hours or submitters are an error of kind
// jobs.Exhausted.
func (b *Book) Harvest(since, until time.Time, pass func(by jobs.KeyID, owner string) bool) (Harvest, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	hours, people := map[uint32]*Hour{}, map[string]*Share{}
	at := func(hour uint32) *Hour {
		if hours[hour] == nil {
			hours[hour] = &Hour{Begin: momentOf(hour)}
		}
		return hours[hour]
	}
	err := b.spent(since, until, pass, func(hour uint32, w whose, owner string, s ledger.Spend) error {
		name := Name(w.submitter, owner)
		if people[name] == nil {
			people[name] = &Share{Name: name}
		}
		people[name].Add(s)
		at(hour).Add(s)
		if len(hours) > MaxRows || len(people) > MaxRows {
			return tooMany()
		}
		return nil
	})
	if err == nil {
		err = b.offered(since, until, func(hour uint32, us uint64) { at(hour).CoreMic += us })
	}
	if err != nil {
		return Harvest{}, err
	}
	return Harvest{
		Hours: sorted(hours, func(x, y Hour) int { return x.Begin.Compare(y.Begin) }),
		By:    sorted(people, func(x, y Share) int { return cmp.Or(cmp.Compare(y.Total(), x.Total()), cmp.Compare(x.Name, y.Name)) }),
	}, nil
}

// sorted returns the values of a map in an order.
func sorted[K comparable, V any](m map[K]*V, compare func(x, y V) int) []V {
	out := make([]V, 0, len(m))
	for _, v := range m {
		out = append(out, *v)
	}
	slices.SortFunc(out, compare)
	return out
}
