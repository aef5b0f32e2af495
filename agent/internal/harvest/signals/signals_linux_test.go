package signals

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"idlegrid/agent/internal/harvest/signals/signalstest"
)

// tree makes a folder that has files with these contents.
func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestPower(t *testing.T) {
	const dir = "sys/class/power_supply/"
	for name, c := range map[string]struct {
		files map[string]string
		want  Reading[Power]
	}{
		"no such folder": {nil, Reading[Power]{At: noon, None: true}},
		"a desktop with a mouse": {map[string]string{
			dir + "hid/type": "Battery\n", dir + "hid/scope": "Device\n", dir + "hid/capacity": "50\n", dir + "hid/status": "Discharging\n",
		}, Reading[Power]{At: noon, None: true}},
		"a laptop at the wall": {map[string]string{
			dir + "AC/type": "Mains\n", dir + "AC/online": "1\n",
			dir + "BAT0/type": "Battery\n", dir + "BAT0/present": "1\n", dir + "BAT0/capacity": "80\n", dir + "BAT0/status": "Charging\n",
		}, Reading[Power]{At: noon, Value: Power{Charge: 0.8}}},
		"unplugged": {map[string]string{
			dir + "AC/type": "Mains\n", dir + "AC/online": "0\n",
			dir + "BAT0/type": "Battery\n", dir + "BAT0/capacity": "80\n", dir + "BAT0/status": "Discharging\n",
			dir + "BAT1/type": "Battery\n", dir + "BAT1/capacity": "40\n", dir + "BAT1/status": "Unknown\n",
		}, Reading[Power]{At: noon, Value: Power{Battery: true, Charge: 0.6}}},
		"a wall socket that is not shown": {map[string]string{
			dir + "BAT0/type": "Battery\n", dir + "BAT0/capacity": "full\n", dir + "BAT0/status": "Discharging\n",
		}, Reading[Power]{At: noon, Value: Power{Battery: true}}},
		"charged by USB": {map[string]string{
			dir + "usb/type": "USB\n", dir + "usb/online": "1\n", dir + "AC/type": "Mains\n", dir + "AC/online": "0\n",
			dir + "BAT0/type": "Battery\n", dir + "BAT0/capacity": "250\n",
		}, Reading[Power]{At: noon, Value: Power{}}},
		"a battery that was taken out": {map[string]string{
			dir + "BAT0/type": "Battery\n", dir + "BAT0/present": "0\n",
		}, Reading[Power]{At: noon, None: true}},
	} {
		got, err := newPower(Options{Root: tree(t, c.files)}).read(noon)
		if d := got.Value.Charge - c.want.Value.Charge; d > 1e-9 || d < -1e-9 {
			t.Errorf("%s: charge %g", name, got.Value.Charge)
		}
		got.Value.Charge = c.want.Value.Charge
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v, expected %+v", name, got, err, c.want)
		}
	}
}

func TestTemperature(t *testing.T) {
	const zone, chip = "sys/class/thermal/thermal_zone0/", "sys/class/hwmon/hwmon3/"
	for name, c := range map[string]struct {
		files map[string]string
		want  Reading[float64]
	}{
		"no sensor":         {nil, Reading[float64]{At: noon, None: true}},
		"the board's":       {map[string]string{zone + "type": "acpitz\n", zone + "temp": "90000\n"}, Reading[float64]{At: noon, None: true}},
		"one zone":          {map[string]string{zone + "type": "x86_pkg_temp\n", zone + "temp": "61500\n"}, Reading[float64]{At: noon, Value: 61.5}},
		"that shows errors": {map[string]string{zone + "type": "x86_pkg_temp\n", zone + "temp": "-274000\n"}, Reading[float64]{At: noon, None: true}},
		"the hottest of a chip": {map[string]string{
			zone + "type": "x86_pkg_temp\n", zone + "temp": "50000\n",
			chip + "name": "coretemp\n", chip + "temp1_input": "55000\n", chip + "temp2_input": "72000\n", chip + "temp3_input": "no\n", chip + "temp2_crit": "100000\n",
		}, Reading[float64]{At: noon, Value: 72}},
	} {
		got, err := newTemperature(Options{Root: tree(t, c.files)}).read(noon)
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestMachineFromFiles(t *testing.T) {
	const cpuLine = "cpu  %d 0 0 1000 500 0 0 0 0 0\ncpu0 1 0 0 0 0 0 0 0 0 0\n"
	root := tree(t, map[string]string{
		"proc/stat":            fmt.Sprintf(cpuLine, 1000),
		"proc/meminfo":         "MemTotal: 8000 kB\nMemFree: 100 kB\nMemAvailable: 3000 kB\n",
		"proc/pressure/memory": "some avg10=12.50 avg60=0.00 avg300=0.00 total=7\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
		"proc/pressure/io":     "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\n",
		"proc/7/comm":          "Zoom\n",
		"proc/7/status":        "Name:\tZoom\n",
	})
	var own time.Duration
	w := New(Options{
		Root: root, Bus: "unix:path=/nowhere", OwnCPU: func() time.Duration { return own }, Log: quiet(),
		Programs: func() []string { return []string{"zoom", "teams"} },
	})
	first := w.Observe(noon)
	if first.Others.Known(noon) || first.Disk.Known(noon) || first.Sessions.Known(noon) {
		t.Errorf("known at first sight: %+v", first)
	}
	if m := first.Memory.Value; m.Total != 8000<<10 || m.Available != 3000<<10 || m.Pressure != 0.125 {
		t.Errorf("memory %+v", m)
	}
	if got := first.Programs.Value; len(got) != 1 || got[0] != "zoom" {
		t.Errorf("programs %q", got)
	}
	if !first.Power.None || !first.Temperature.None || !first.Metered.None || !first.Presenting.None {
		t.Errorf("a machine without battery, sensor, network manager and desktop: %+v", first)
	}
	// Two seconds later: 1.5 s of CPU more, of which half a second is ours, and a quarter of the time a disk waited.
	own = 500 * time.Millisecond
	write(t, root, "proc/stat", fmt.Sprintf(cpuLine, 1150))
	write(t, root, "proc/pressure/io", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\n")
	then := noon.Add(2 * time.Second)
	second := w.Observe(then)
	if got := second.Others; got.Value != 0.5 || got.At != then {
		t.Errorf("others %+v", got)
	}
	if got := second.Disk; got.Value != 0.25 || got.At != then {
		t.Errorf("disk %+v", got)
	}
	if err := os.Remove(filepath.Join(root, "proc/stat")); err != nil {
		t.Fatal(err)
	}
	later := then.Add(Stale + time.Second)
	if got := w.Observe(later).Others; got.Known(later) {
		t.Errorf("others %+v of a machine that says nothing any more", got)
	}
}

func write(t testing.TB, root, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func FuzzPressure(f *testing.F) {
	f.Add([]byte("some avg10=12.50 avg60=0.00 avg300=0.00 total=7\n"))
	f.Add([]byte("full avg10=NaN total=-1\nsome avg10=NaN total=9223372036854775807\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		p, ok := parsePressure(content)
		if !ok && p != (pressure{}) || !(p.share >= 0 && p.share <= 1) || p.total < 0 {
			t.Errorf("%+v, %t of %q", p, ok, content)
		}
	})
}

func TestLoginOf(t *testing.T) {
	seat := []any{"seat0", dbus.ObjectPath("/org/freedesktop/login1/seat/seat0")}
	type props map[string]any
	for name, c := range map[string]struct {
		p    props
		want login
		ok   bool
	}{
		"a desktop": {
			props{"Class": "user", "Type": "wayland", "Active": true, "Seat": seat, "TTY": "tty2"},
			login{Session: Session{ID: "2", User: "1000", Kind: Graphical}, screen: true},
			true,
		},
		"a locked desktop": {
			props{"Class": "user", "Type": "x11", "Active": true, "Seat": seat, "LockedHint": true},
			login{Session: Session{ID: "2", User: "1000", Kind: Graphical, Locked: true}, screen: true},
			true,
		},
		"a desktop behind another one": {
			props{"Class": "user", "Type": "x11", "Active": false, "Seat": seat},
			login{Session: Session{ID: "2", User: "1000", Kind: Graphical, Locked: true}, screen: true},
			true,
		},
		"ssh": {
			props{"Class": "user", "Type": "tty", "Remote": true, "TTY": "pts/0", "Timestamp": uint64(7)},
			login{Session: Session{ID: "2", User: "1000", Kind: Remote}, terminal: "pts/0", started: time.UnixMicro(7)},
			true,
		},
		"a text console": {
			props{"Class": "user", "Type": "tty", "TTY": "tty3", "Seat": seat, "Active": true},
			login{Session: Session{ID: "2", User: "1000", Kind: Terminal}, terminal: "tty3"},
			true,
		},
		"remote desktop": {
			props{"Class": "user", "Type": "wayland", "Remote": true},
			login{Session: Session{ID: "2", User: "1000", Kind: Remote}, screen: true},
			true,
		},
		"an idle hint": {
			props{"Class": "user", "Type": "x11", "IdleHint": true, "IdleSinceHint": uint64(9)},
			login{Session: Session{ID: "2", User: "1000", Kind: Graphical}, screen: true, idle: time.UnixMicro(9)},
			true,
		},
		"no idle hint proves nothing": {
			props{"Class": "user", "Type": "x11", "IdleHint": false, "IdleSinceHint": uint64(9)},
			login{Session: Session{ID: "2", User: "1000", Kind: Graphical}, screen: true},
			true,
		},
		"properties of wrong types": {
			props{"Class": 7, "Type": true, "Seat": "seat0", "LockedHint": "yes", "IdleHint": 1},
			login{Session: Session{ID: "2", User: "1000", Kind: Terminal}},
			true,
		},
		"a login screen":    {props{"Class": "greeter", "Type": "wayland"}, login{}, false},
		"a service manager": {props{"Class": "manager"}, login{}, false},
		"one that ends":     {props{"Class": "user", "Type": "tty", "State": "closing"}, login{}, false},
	} {
		p := map[string]dbus.Variant{}
		for name, value := range c.p {
			p[name] = dbus.MakeVariant(value)
		}
		got, ok := loginOf("2", 1000, p)
		if got != c.want || ok != c.ok {
			t.Errorf("%s: %+v, %t", name, got, ok)
		}
	}
}

// await waits for a change after which f holds.
func await(t *testing.T, w *Watcher, what string, f func(Observation) bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !f(w.Observe(time.Now())) {
		select {
		case <-w.Changed():
		case <-deadline:
			t.Fatalf("not seen: %s; last %+v", what, w.Observe(time.Now()))
		}
	}
}

func TestLogindTellsByEvents(t *testing.T) {
	bus := signalstest.Bus(t)
	l := signalstest.NewLogind(t, bus)
	w := New(Options{Root: t.TempDir(), Bus: bus, Log: quiet()})
	if o := w.Observe(time.Now()); o.Sessions.Known(time.Now()) {
		t.Errorf("sessions %+v before anything was heard", o.Sessions)
	}
	w.Start()
	w.Start()
	defer w.Stop()
	one := func(f func(Session) bool) func(Observation) bool {
		return func(o Observation) bool { return len(o.Sessions.Value) == 1 && f(o.Sessions.Value[0]) }
	}
	await(t, w, "nobody", func(o Observation) bool { return o.Sessions.Known(time.Now()) && len(o.Sessions.Value) == 0 })
	l.Add("3", 1000, map[string]any{"Type": "x11"})
	await(t, w, "a login", one(func(s Session) bool { return s.ID == "3" && s.User == "1000" && s.Input.IsZero() }))
	l.Set("3", "LockedHint", true)
	await(t, w, "a lock", one(func(s Session) bool { return s.Locked }))
	l.Set("3", "LockedHint", false)
	await(t, w, "an unlock", one(func(s Session) bool { return !s.Locked }))
	l.Set("3", "State", "closing")
	await(t, w, "a session that ends", func(o Observation) bool { return len(o.Sessions.Value) == 0 })
	l.Set("3", "State", "active")
	await(t, w, "and does not", one(func(Session) bool { return true }))
	l.Remove("3")
	await(t, w, "a logout", func(o Observation) bool { return o.Sessions.Known(time.Now()) && len(o.Sessions.Value) == 0 })
	if err := l.Stop(); err != nil {
		t.Fatal(err)
	}
	l = signalstest.NewLogind(t, bus)
	l.Add("4", 1000, map[string]any{"Type": "x11"})
	await(t, w, "the next logind's session", one(func(s Session) bool { return s.ID == "4" }))
}

func TestWatcherStops(t *testing.T) {
	w := New(Options{Root: t.TempDir(), Bus: "unix:path=/nowhere", Log: quiet()})
	w.Stop()
	w.Stop()
	w.Start() // it is over
	w = New(Options{Root: t.TempDir(), Bus: "unix:path=/nowhere", Log: quiet()})
	w.Start()
	w.Stop()
	w.Stop()
	if o := w.Observe(time.Now()); o.Sessions.Known(time.Now()) {
		t.Error("sessions are known on a machine without a bus")
	}
}

func TestTerminals(t *testing.T) {
	root := tree(t, map[string]string{"dev/pts/0": "", "dev/pts/7": "", "dev/pts/ptmx": "", "dev/tty3": ""})
	touch := func(name string, at time.Time) {
		t.Helper()
		if err := os.Chtimes(filepath.Join(root, "dev", name), at, noon); err != nil {
			t.Fatal(err)
		}
	}
	user := strconv.Itoa(os.Geteuid())
	touch("pts/0", noon.Add(-time.Minute))
	touch("pts/7", noon.Add(-time.Hour))
	touch("pts/ptmx", noon)
	touch("tty3", noon.Add(-2*time.Minute))
	term := newTerminals(Options{Root: root})
	remote := Session{User: user, Kind: Remote}
	for name, c := range map[string]struct {
		login login
		want  time.Time
	}{
		"its own":                   {login{Session: remote, terminal: "pts/7"}, noon.Add(-time.Hour)},
		"any of its user's":         {login{Session: remote}, noon.Add(-time.Minute)},
		"one that is gone":          {login{Session: remote, terminal: "pts/9"}, noon.Add(-time.Minute)},
		"a text console":            {login{Session: Session{User: user, Kind: Terminal}, terminal: "tty3"}, noon.Add(-2 * time.Minute)},
		"a console that is gone":    {login{Session: Session{User: user, Kind: Terminal}, terminal: "tty4"}, time.Time{}},
		"a path that leads away":    {login{Session: Session{User: user, Kind: Terminal}, terminal: "../tty3"}, time.Time{}},
		"a desktop":                 {login{Session: Session{User: user, Kind: Graphical}, screen: true}, time.Time{}},
		"from afar, of no terminal": {login{Session: Session{User: "x", Kind: Remote}, started: noon.Add(-time.Hour)}, noon.Add(-time.Hour)},
	} {
		if got := term.lastInput(c.login); !got.Equal(c.want) {
			t.Errorf("%s: %s, expected %s", name, got, c.want)
		}
	}
	if got := term.logins(); len(got) != 2 {
		t.Errorf("%d terminals: %+v", len(got), got)
	}
}

// TestKeysInTerminalAreSeen: with something running, a key in an ssh session is told within some tens of
// milliseconds.
func TestKeysInTerminalAreSeen(t *testing.T) {
	bus := signalstest.Bus(t)
	l := signalstest.NewLogind(t, bus)
	l.Add("5", uint32(os.Geteuid()), map[string]any{"Type": "tty", "Remote": true, "TTY": "pts/0"})
	root := tree(t, map[string]string{"dev/pts/0": ""})
	device := filepath.Join(root, "dev/pts/0")
	before := time.Now().Add(-time.Hour)
	if err := os.Chtimes(device, before, before); err != nil {
		t.Fatal(err)
	}
	w := New(Options{Root: root, Bus: bus, Log: quiet()})
	w.Start()
	defer w.Stop()
	await(t, w, "a terminal at rest", func(o Observation) bool {
		return len(o.Sessions.Value) == 1 && o.Sessions.Value[0].Input.Equal(before)
	})
	at := time.Now()
	if err := os.Chtimes(device, at, at); err != nil {
		t.Fatal(err)
	}
	if o := w.Observe(time.Now()); !o.Sessions.Value[0].Input.Equal(at) {
		t.Errorf("after a key %+v", o.Sessions)
	}
}

// BenchmarkObserve is one look with everything due, on this machine's own files, as an idle agent has every few
// seconds; Soon is one with nothing due.
func BenchmarkObserve(b *testing.B) {
	for name, step := range map[string]time.Duration{"Due": 3 * time.Second, "Soon": 0} {
		b.Run(name, func(b *testing.B) {
			w := New(Options{Log: quiet()})
			now := time.Now()
			w.Observe(now) // The first look makes what the next ones use.
			begun := cpuTime(b)
			for b.Loop() {
				now = now.Add(step)
				w.Observe(now)
			}
			b.ReportMetric(float64((cpuTime(b)-begun).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

// cpuTime returns what this process has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
