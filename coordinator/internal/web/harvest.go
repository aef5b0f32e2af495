package web

import (
	"fmt"
	"math"
	"sync"
	"time"

	"idlegrid/coordinator/internal/accounts"
	"idlegrid/coordinator/internal/costs"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
)

const (
	// harvestDays is how many days are shown, today among them.
	harvestDays = 28
	// sharesShown is how many submitters have a line of their own.
	sharesShown = 20
	// heatLevels is how many colours there are for an hour in which something was harvested.
	heatLevels = 5
	// harvestLife is how old what pages show of accounts may be, which are written once a minute themselves.
	harvestLife = 30 * time.Second
)

// harvests are what was shown of the accounts lately, by who may see it: those who look often cost no more than one.
type harvests struct {
	mu sync.Mutex                 // guards everything below
	by map[jobs.KeyID]harvestAsOf // of a submitter; of nobody: all, for operators
}

type harvestAsOf struct {
	at time.Time
	*harvestView
}

func (s *harvests) get(l *login, now time.Time, read func() (*harvestView, error)) (*harvestView, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, v := range s.by {
		if age := now.Sub(v.at); age > harvestLife || age < 0 {
			delete(s.by, key)
		}
	}
	var whose jobs.KeyID
	if !l.operator() {
		whose = l.who.ID
	}
	if have, ok := s.by[whose]; ok {
		return have.harvestView, nil
	}
	v, err := read()
	if err == nil {
		s.by[whose] = harvestAsOf{now, v}
	}
	return v, err
}

// harvestView is what was harvested on some days. To a submitter it is their own, and nothing is offered.
type harvestView struct {
	Everyone bool
	Zone     string // of the days and hours
	Saved    string // against the first of the operator's prices; empty: there is none, or nothing was saved
	period
	Uses   []useRow
	Days   []harvestDay // the newest first
	Most   uint64       // of all hours
	Shares []shareRow   // who has most first, the others last
}

// period is what was spent and offered in some time. It is in microseconds.
type period struct {
	ledger.Spend
	Offered uint64
}

// Useful is CPU time of accepted results.
func (p period) Useful() uint64 { return p.CPU[ledger.UsefulCPU] }

// harvestDay is a day of the server's time zone.
type harvestDay struct {
	Begin time.Time
	period
	Hours [24]heat
}

// heat is an hour of a day.
type heat struct {
	Useful uint64
	Level  int  // from 0, for nothing, to heatLevels
	Ahead  bool // it has not begun
}

// useRow is what became of some CPU time.
type useRow struct {
	Use, Means string
	CPU, Of    uint64
}

// uses are the words for what became of CPU time, by how people ask for it.
var uses = [ledger.Uses]struct {
	use   ledger.Use
	means string
}{
	{ledger.UsefulCPU, "accepted results"},
	{ledger.LostCPU, "evicted: since the last checkpoint, when a PC was needed or went off"},
	{ledger.RepeatedCPU, "run twice: further results of a unit that had one"},
	{ledger.FailedCPU, "units that failed"},
	{ledger.OverheadCPU, "agents themselves: checkpoints, transfers, the grid's own work"},
}

// shareRow is what the work of one submitter took, or of so many others.
type shareRow struct {
	Name   string
	Others int
	period
	Of uint64 // all that was spent
}

func (p *Page) harvest(l *login) (*harvestView, error) {
	now := time.Now()
	return p.harvests.get(l, now, func() (*harvestView, error) {
		h, err := p.o.Grid.Harvest(dayOf(now, harvestDays-1), now, func(by jobs.KeyID, _ string) bool { return l.may(by) })
		if err != nil {
			return nil, err
		}
		v := harvestOf(h, now, l.operator())
		if l.operator() {
			v.Saved = savedBy(p.o.Grid.Costs, v.Spend)
		}
		return v, nil
	})
}

// dayOf returns the begin of the day so many days ago.
func dayOf(now time.Time, ago int) time.Time {
	year, month, day := now.Date()
	return time.Date(year, month, day-ago, 0, 0, 0, 0, now.Location())
}

// harvestOf returns what is to be seen of a harvest, in days and hours of the time zone of now. An hour that is there twice
// a year, when clocks are set back, is one; of an hour that a time zone cuts the one counts in which it begins.
func harvestOf(h accounts.Harvest, now time.Time, everyone bool) *harvestView {
	v := &harvestView{Everyone: everyone, Zone: now.Format("MST, UTC-07:00")}
	if _, offset := now.Zone(); offset == 0 {
		v.Zone = "UTC"
	}
	days := map[string]*harvestDay{}
	v.Days = make([]harvestDay, harvestDays)
	for ago := range v.Days {
		d := &v.Days[ago]
		d.Begin = dayOf(now, ago)
		days[d.Begin.Format(time.DateOnly)] = d
		for hour := range d.Hours {
			d.Hours[hour].Ahead = ago == 0 && hour > now.Hour()
		}
	}
	for _, hour := range h.Hours {
		begin := hour.Begin.In(now.Location())
		d := days[begin.Format(time.DateOnly)]
		if d == nil {
			continue // of another time
		}
		cell := &d.Hours[begin.Hour()]
		cell.Useful += hour.CPU[ledger.UsefulCPU]
		v.Most = max(v.Most, cell.Useful)
		for _, sum := range []*period{&v.period, &d.period} {
			sum.Add(hour.Spend)
			if everyone {
				sum.Offered += hour.CoreMic
			}
		}
	}
	for ago := range v.Days {
		for hour := range v.Days[ago].Hours {
			cell := &v.Days[ago].Hours[hour]
			cell.Level = levelOf(cell.Useful, v.Most)
		}
	}
	for _, u := range uses {
		v.Uses = append(v.Uses, useRow{u.use.String(), u.means, v.CPU[u.use], v.Total()})
	}
	if everyone {
		v.Shares = sharesOf(h.By)
	}
	return v
}

// savedBy says what was saved against the first price, after the energy.
func savedBy(s costs.Settings, spent ledger.Spend) string {
	if len(s.Prices) == 0 {
		return ""
	}
	saved, price := s.Bill(spent).Saved(0), s.Prices[0]
	if saved < 0.5 {
		return ""
	}
	return fmt.Sprintf("Saved about %s %s against %s, whose price is of %s", number(uint64(math.Round(saved))), s.Currency, price.Name, price.Date)
}

// levelOf returns which colour an hour has, the most being that of the hour with most.
func levelOf(us, most uint64) int {
	return int(math.Ceil(heatLevels * float64(us) / float64(max(1, most))))
}

// sharesOf returns those with most, and the others together.
func sharesOf(by []accounts.Share) (rows []shareRow) {
	of := uint64(0)
	for _, s := range by {
		of += s.Total()
	}
	for i, s := range by {
		if i <= sharesShown {
			rows = append(rows, shareRow{Name: s.Name, Of: of})
		}
		r := &rows[len(rows)-1]
		r.Add(s.Spend)
		if i >= sharesShown {
			r.Name, r.Others = "others", r.Others+1
		}
	}
	return rows
}

// cpuHours is CPU time in hours, with two digits at least where there are any.
func cpuHours(us uint64) string {
	switch h := float64(us) / 3600e6; {
	case us == 0:
		return "0"
	case h < 0.005:
		return "<0.01"
	case h < 0.995:
		return fmt.Sprintf("%.2f", h)
	case h < 9.95:
		return fmt.Sprintf("%.1f", h)
	default:
		return number(uint64(math.Round(h)))
	}
}

// percent is a part of a whole, never rounded up to it.
func percent(part, whole uint64) string {
	switch n := 100 * float64(part) / float64(max(1, whole)); {
	case whole == 0:
		return "–"
	case part > 0 && n < 1:
		return "<1 %"
	default:
		return number(uint64(n)) + " %"
	}
}
