package gridtest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

// Unit is a unit that is about to run.
type Unit struct {
	Program jobs.Digest
	Number  uint64
	On      *Machine
}

// Result is what becomes of a unit.
type Result struct {
	Takes   time.Duration
	Outcome record.Outcome
	Failure jobs.Failure  // zero: it succeeds
	Err     error         // the machine's own fault: the unit has not run
	Saves   bool          // it gives checkpoints
	Blocks  time.Duration // how long it takes CPU time, and none after that; 0: nobody says whether it does
	Spoils  int           // checkpoints from this one on are garbage, if above zero
}

// Work says what becomes of units. It is called when one starts, by many at once.
type Work func(Unit) Result

// Compute is what the programs of gridtest compute.
func Compute(program jobs.Digest, unit uint64) record.Outcome {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(program[:], unit))
	return record.Outcome{Stdout: fmt.Appendf(nil, "%d %x\n", unit, sum[:8])}
}

// Takes lets every unit take that long and compute what it should.
func Takes(d time.Duration) Work {
	return func(u Unit) Result { return Result{Takes: d, Outcome: Compute(u.Program, u.Number)} }
}

// UnitRun is a run of a unit.
type UnitRun struct {
	Unit
	ID, Of  int // a number of its own, and that of the run from whose checkpoint it went on; 0: of none
	Started time.Time
	Ended   time.Time // zero: it runs, or was stopped before its end
	// From and Reached say how much of its time the unit had behind it at the start, by a checkpoint, and when it
	// ended or was stopped; Running, that it was not.
	From, Reached time.Duration
	Running       bool
	Failed        bool
	Cut           bool // the power of its machine was cut, or it ended while that was done: nobody hears of it
}

// startCost is what CPU time an agent itself takes for each unit that it starts.
const startCost = time.Second

// runs is what ran where, in the whole grid, and how.
type runs struct {
	mu      sync.Mutex // guards everything below
	work    Work
	prepare func(*executor.Program) error // nil: programs are good
	all     map[jobs.Digest]map[uint64][]*UnitRun
	started int
	now     map[*UnitRun]struct{}
}

// Work says what becomes of the units that start from now on.
func (g *Grid) Work(w Work) {
	g.runs.mu.Lock()
	defer g.runs.mu.Unlock()
	g.runs.work = w
}

// Prepare is called with each program that a machine gets ready from now on; its error is what comes of that.
func (g *Grid) Prepare(f func(*executor.Program) error) {
	g.runs.mu.Lock()
	defer g.runs.mu.Unlock()
	g.runs.prepare = f
}

// Running returns how many units run now.
func (g *Grid) Running() int {
	g.runs.mu.Lock()
	defer g.runs.mu.Unlock()
	return len(g.runs.now)
}

// InHand returns what runs now on some machines.
func (g *Grid) InHand(on ...*Machine) []UnitRun {
	g.runs.mu.Lock()
	defer g.runs.mu.Unlock()
	var out []UnitRun
	for r := range g.runs.now {
		if slices.Contains(on, r.On) {
			out = append(out, *r)
		}
	}
	return out
}

// Started returns how many runs were started so far.
func (g *Grid) Started() int {
	g.runs.mu.Lock()
	defer g.runs.mu.Unlock()
	return g.runs.started
}

// runner stands for the executor of a machine: units take time and nothing else.
type runner struct {
	m *Machine

	mu      sync.Mutex // guards everything below and the paces
	allowed int
	paces   []*pace // of all units that run or wait to, in the order in which they began
}

// pace is how far a unit is, and whether it goes on.
type pace struct {
	runner  *runner
	went    time.Duration // before since
	since   time.Time     // when it began to go on; zero: it is frozen
	changed chan struct{}
	tell    func(frozen bool)
}

// Allow implements the worker's Runner.
func (r *runner) Allow(n int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.allowed = n
	r.apply()
	return nil
}

// apply freezes and thaws units as they are allowed to go on.
func (r *runner) apply() {
	for i, p := range r.paces {
		if frozen := i >= r.allowed; frozen != p.since.IsZero() {
			p.set(frozen)
		}
	}
}

// set freezes a unit or lets it go on.
func (p *pace) set(frozen bool) {
	if frozen {
		p.went += time.Since(p.since)
		p.since = time.Time{}
	} else {
		p.since = time.Now()
	}
	if p.tell != nil {
		p.tell(frozen)
	}
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// begin lets a unit begin, or wait to.
func (r *runner) begin(u *executor.Unit) *pace {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &pace{runner: r, changed: make(chan struct{}, 1), tell: u.Frozen}
	r.paces = append(r.paces, p)
	if r.apply(); p.since.IsZero() && p.tell != nil {
		p.tell(true)
	}
	return p
}

func (p *pace) end() {
	r := p.runner
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paces = slices.DeleteFunc(r.paces, func(o *pace) bool { return o == p })
	r.apply()
}

// so returns how long the unit has gone on, and whether it does.
func (p *pace) so() (far time.Duration, going bool) {
	p.runner.mu.Lock()
	defer p.runner.mu.Unlock()
	if p.since.IsZero() {
		return p.went, false
	}
	return p.went + time.Since(p.since), true
}

// Prepare implements the worker's Runner.
func (r *runner) Prepare(_ context.Context, p *executor.Program) error {
	runs := &r.m.grid.runs
	runs.mu.Lock()
	prepare := runs.prepare
	runs.mu.Unlock()
	if prepare == nil {
		return nil
	}
	return prepare(p)
}

// Run implements the worker's Runner. A job's first argument is the number of the unit.
func (r *runner) Run(ctx context.Context, prog *executor.Program, u *executor.Unit) (executor.Result, error) {
	number, err := strconv.ParseUint(u.Args[0], 10, 64)
	if err != nil {
		return executor.Result{}, err
	}
	runs := &r.m.grid.runs
	from, of, err := stateOf(u.Resume, prog.Digest, number)
	if err != nil {
		return executor.Result{}, err
	}
	run, work := runs.start(prog.Digest, number, r.m, from, of)
	res := work(Unit{Program: prog.Digest, Number: number, On: r.m})
	s := &saves{unit: u, program: prog.Digest, number: number, run: run.ID, spoils: res.Spoils, last: executor.Checkpoint{}}
	p := r.begin(u)
	defer p.end()
	reached, err := s.runFor(ctx, p, from, res)
	runs.end(run, reached, res.Failure.Failed(), err)
	times := jobs.Times{CPU: reached - from, Wall: reached - from}
	if err != nil {
		return executor.Result{Times: times}, err
	}
	return executor.Result{Outcome: res.Outcome, Failure: res.Failure, Times: times}, nil
}

func (r *runs) start(program jobs.Digest, unit uint64, on *Machine, from time.Duration, of int) (*UnitRun, Work) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started++
	if r.all == nil {
		r.all, r.now = map[jobs.Digest]map[uint64][]*UnitRun{}, map[*UnitRun]struct{}{}
	}
	if r.all[program] == nil {
		r.all[program] = map[uint64][]*UnitRun{}
	}
	run := &UnitRun{Unit: Unit{Program: program, Number: unit, On: on}, ID: r.started, Of: of, Started: time.Now(), From: from, Running: true}
	r.now[run] = struct{}{}
	on.overhead.Add(int64(startCost))
	r.all[program][unit] = append(r.all[program][unit], run)
	return run, r.work
}

func (r *runs) end(run *UnitRun, reached time.Duration, failed bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.now, run)
	run.Running, run.Reached, run.Cut = false, reached, run.On.cutting.Load()
	run.On.lastEnd = time.Now()
	if err == nil {
		run.Ended, run.Failed = time.Now(), failed
		delete(run.On.unsaid, run.Program)
	} else {
		run.On.unsaid[run.Program] = true
	}
}

// Ran returns the runs of a unit that came to their end, in the order in which they started.
func (j *Job) Ran(unit uint64) []UnitRun {
	return slices.DeleteFunc(j.Runs(unit), func(r UnitRun) bool { return r.Ended.IsZero() })
}

// Runs returns all runs of a unit, in the order in which they started.
func (j *Job) Runs(unit uint64) []UnitRun {
	r := &j.grid.runs
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []UnitRun
	for _, run := range r.all[j.Manifest.Program.Digest][unit] {
		out = append(out, *run)
	}
	return out
}

// RanOn returns how many units of the job a machine ran to their end.
func (j *Job) RanOn(m *Machine) int {
	n := 0
	for unit := range j.Manifest.Units {
		for _, r := range j.Ran(unit) {
			if r.On == m {
				n++
			}
		}
	}
	return n
}

// Each fails the test unless each of the job's units ran to its end, least to most times in all.
func (j *Job) Each(least, most int) {
	j.grid.T.Helper()
	for unit := range j.Manifest.Units {
		if n := len(j.Ran(unit)); n < least || n > most {
			j.grid.T.Errorf("unit %d ran %d times, expected %d to %d", unit, n, least, most)
		}
	}
}
