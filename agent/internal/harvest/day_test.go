package harvest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"idlegrid/agent/internal/harvest/policy"
	"idlegrid/agent/internal/harvest/signals"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestDay plays a laptop's day: a table of events in testdata/day.events, the trace of decisions in day.trace. Each
// event is "hh:mm:ss what value"; an event stands until the next of its kind. With typing on, a key is pressed every
// three seconds.
func TestDay(t *testing.T) {
	events, err := os.ReadFile(filepath.Join("testdata", "day.events"))
	if err != nil {
		t.Fatal(err)
	}
	var trace strings.Builder
	d := newDay(t, string(events))
	last := ""
	for at := range 24 * 60 * 60 {
		d.now = d.start.Add(time.Duration(at) * time.Second)
		d.happen(t)
		decision := d.decide()
		line := fmt.Sprintf("%-9s %d cores  %s", decision.Mode(), decision.Cores, decision.Reason)
		if line != last {
			fmt.Fprintf(&trace, "%s  %s\n", d.now.Format(time.TimeOnly), line)
			last = line
		}
	}
	golden := filepath.Join("testdata", "day.trace")
	if *update {
		if err := os.WriteFile(golden, []byte(trace.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || string(want) != trace.String() {
		t.Errorf("%v; the day went\n%s", err, &trace)
	}
}

type day struct {
	start, now   time.Time
	lines        []string
	policy       policy.Values
	command      Command
	state        State
	typing       bool
	in, locked   bool
	battery      bool
	charge       float64
	call         bool
	others, free float64
	input        time.Time
}

func newDay(t *testing.T, events string) *day {
	d := &day{start: time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC), policy: policy.Defaults(), charge: 1, others: 0.1, free: 10}
	for line := range strings.Lines(events) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			d.lines = append(d.lines, line)
		}
	}
	if len(d.lines) == 0 {
		t.Fatal("no events")
	}
	return d
}

// happen applies the events that are due.
func (d *day) happen(t *testing.T) {
	if d.typing && d.now.Unix()%3 == 0 {
		d.input = d.now
	}
	for len(d.lines) > 0 {
		f := strings.Fields(d.lines[0])
		at, err := time.Parse(time.TimeOnly, f[0])
		if err != nil || len(f) != 3 {
			t.Fatalf("event %q: %v", d.lines[0], err)
		}
		if d.now.Format(time.TimeOnly) < at.Format(time.TimeOnly) {
			return
		}
		d.lines = d.lines[1:]
		number, err := strconv.ParseFloat(f[2], 64)
		on := f[2] == "on"
		if err != nil && !on && f[2] != "off" {
			t.Fatalf("event %q", f)
		}
		switch f[1] {
		case "typing":
			d.typing = on
		case "key":
			d.input = d.now
		case "login":
			d.in = on
		case "locked":
			d.locked = on
		case "battery":
			d.battery = on
		case "charge":
			d.charge = number
		case "fullscreen":
			d.call = on
		case "others":
			d.others = number
		case "free":
			d.free = number
		case "pause":
			d.command = Command{Paused: on}
		default:
			t.Fatalf("event %q", f)
		}
	}
}

func (d *day) decide() (out Decision) {
	o := quiet(d.now, d.input)
	o.Sessions.Value[0].Locked = d.locked
	if !d.in {
		o.Sessions.Value = nil
	}
	o.Power = read(d.now, signals.Power{Battery: d.battery, Charge: d.charge})
	o.Presenting.Value, o.Others.Value, o.Memory.Value.Available = d.call, d.others, int64(d.free*(1<<30))
	out, d.state = Decide(Input{Now: d.now, Seen: o, Policy: &d.policy, Command: d.command, Cores: 8, Most: 8}, d.state)
	return out
}
