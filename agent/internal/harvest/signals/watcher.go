package signals

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// often is for what changes within seconds, slow for the rest; both are below Stale.
	often = time.Second
	slow  = 3 * time.Second
)

// Options are what a watcher needs.
type Options struct {
	Root     string               // the folder that has proc, sys and dev; empty: the system's own
	Bus      string               // address of the system's D-Bus; empty: the system's own
	OwnCPU   func() time.Duration // CPU time that this agent and its units have used so far; nil: none
	Programs func() []string      // names of programs to look for, without folders; nil: none
	Log      *slog.Logger
}

func (o *Options) fill() {
	if o.Root == "" {
		o.Root = "/"
	}
	if o.OwnCPU == nil {
		o.OwnCPU = func() time.Duration { return 0 }
	}
	if o.Programs == nil {
		o.Programs = func() []string { return nil }
	}
}

// Watcher combines all signals. What the system tells by events is known at once; what it does not is read by
// Observe, keys in terminals each time and the rest as rarely as it may be: whoever wants to know of a key at once calls
// it often. Its methods may be called from any goroutine.
type Watcher struct {
	o       Options
	changed chan struct{}
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	logins  *logins
	reports *reports
	metered *metered

	mu sync.Mutex // guards everything below

	others      *gauge[float64]
	memory      *gauge[Memory]
	disk        *gauge[float64]
	power       *gauge[Power]
	temperature *gauge[float64]
	programs    *gauge[[]string]
	terminals   *terminals
}

// New returns a watcher; Start it.
func New(o Options) *Watcher {
	o.fill()
	w := &Watcher{o: o, changed: make(chan struct{}, 1)}
	w.logins, w.reports, w.metered = newLogins(o, w.tell), newReports(w.tell), newMetered(o, w.tell)
	w.others = &gauge[float64]{name: "cpu", every: often, read: newCPU(o).read}
	w.memory = &gauge[Memory]{name: "memory", every: often, read: newMemory(o).read}
	w.disk = &gauge[float64]{name: "disk", every: often, read: newDisk(o).read}
	w.power = &gauge[Power]{name: "power", every: slow, read: newPower(o).read}
	w.temperature = &gauge[float64]{name: "temperature", every: slow, read: newTemperature(o).read}
	w.programs = &gauge[[]string]{name: "programs", every: slow, read: newPrograms(o).read}
	w.terminals = newTerminals(o)
	return w
}

// Start begins to listen to the system; a second call does nothing.
func (w *Watcher) Start() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cancel != nil {
		return
	}
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(context.Background())
	w.wg.Go(func() { w.logins.run(ctx) })
	w.wg.Go(func() { w.metered.run(ctx) })
}

// Stop returns when nothing listens any more. It may be called at any time, twice too. Streams of helpers end with
// the server that they were registered with.
func (w *Watcher) Stop() {
	w.mu.Lock()
	if w.cancel == nil {
		w.cancel = func() {} // it is not to start any more
	}
	cancel := w.cancel
	w.mu.Unlock()
	cancel()
	w.wg.Wait()
}

// Register lets the helpers in the users' sessions report over a server of package local.
func (w *Watcher) Register(s grpc.ServiceRegistrar) { gridv1.RegisterSessionServer(s, w.reports) }

// Working says whether something runs or is frozen, so that every moment counts: helpers look closely then. At first
// nothing does.
func (w *Watcher) Working(yes bool) { w.reports.work(yes) }

// Changed tells that Observe may see something new of the owner that does not bear waiting. What comes while nobody
// listens is told once.
func (w *Watcher) Changed() <-chan struct{} { return w.changed }

func (w *Watcher) tell() {
	select {
	case w.changed <- struct{}{}:
	default: // it is said already
	}
}

// Observe returns what is seen now. It reads what is due and nothing else, so that it may be called at any pace.
func (w *Watcher) Observe(now time.Time) Observation {
	w.mu.Lock()
	defer w.mu.Unlock()
	reports := w.reports.fresh(now)
	return Observation{
		Sessions:    w.sessions(now, reports),
		Others:      w.others.at(now, w.o.Log),
		Memory:      w.memory.at(now, w.o.Log),
		Disk:        w.disk.at(now, w.o.Log),
		Power:       w.power.at(now, w.o.Log),
		Temperature: w.temperature.at(now, w.o.Log),
		Presenting:  presenting(reports, now),
		Programs:    w.programs.at(now, w.o.Log),
		Metered:     w.metered.at(now),
	}
}

// sessions joins what the system says with what the helpers in the sessions do, and with the terminals.
func (w *Watcher) sessions(now time.Time, reports []report) Reading[[]Session] {
	logins, ok := w.logins.at(now)
	if !ok && w.logins.missing() && len(reports) > 0 {
		logins, ok = append(loginsOf(reports), w.terminals.logins()...), true
	}
	if !ok {
		return Reading[[]Session]{}
	}
	logins = slices.Clone(logins)
	markOnly(logins)
	all := make([]Session, 0, len(logins))
	for _, l := range logins {
		all = append(all, join(l, reports, w.terminals.lastInput(l), now))
	}
	return Reading[[]Session]{Value: all, At: now}
}

// gauge keeps what one signal said last, and asks it again when that is due.
type gauge[T any] struct {
	name  string
	every time.Duration
	read  func(now time.Time) (Reading[T], error)

	last  Reading[T]
	tried time.Time
	fails bool
}

// at returns the last reading, a new one if it is due. One that fails leaves the one before, which becomes stale.
func (g *gauge[T]) at(now time.Time, log *slog.Logger) Reading[T] {
	if age := now.Sub(g.tried); !g.tried.IsZero() && age >= 0 && age < g.every {
		return g.last
	}
	g.tried = now
	reading, err := g.read(now)
	if err == nil {
		g.last = reading
	}
	if (err != nil) != g.fails { // said when it begins and when it ends
		g.fails = err != nil
		log.Warn("a signal of this machine", "signal", g.name, "fails", g.fails, "error", err)
	}
	return g.last
}
