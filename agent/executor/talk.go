package executor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"idlegrid/agent/executor/internal/child"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// loadTimeout bounds the time until a child has its program, compiled if need be.
const loadTimeout = 10 * time.Minute

// errTimeout is why a child is killed whose unit ran too long, or whose program took too long.
var errTimeout = errors.New("timeout")

// loadOptions say what a child does with a program.
type loadOptions struct {
	cache       string // folder of the compiled program
	compileOnly bool
}

// load gives the child its program. The error is an *UnusableError if the program is at fault.
func (p *process) load(ctx context.Context, prog *Program, o loadOptions) error {
	release := p.limited(ctx, loadTimeout)
	defer release()
	err := p.limit(prog, o)
	if err != nil {
		return err
	}
	err = p.out.Send(&gridv1.ExecutorRequest{Request: &gridv1.ExecutorRequest_Load{Load: loadRequest(prog, o)}})
	var reply gridv1.ExecutorReply
	if err == nil {
		err = p.in.Receive(&reply)
	}
	loaded := reply.GetLoaded()
	if err == nil && loaded == nil {
		err = errors.New("the executor answered something else than loaded")
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		p.kill(err)
		if why := p.reason(); ownFault(why) || errors.Is(why, errTimeout) {
			return fmt.Errorf("load a program: %w", why)
		}
		return &UnusableError{Failure: jobs.Failure{Kind: jobs.FailureCrash, Text: child.Text("while compiling, " + p.obituary())}}
	}
	p.program, p.warning = prog, loaded.GetWarning()
	p.besides.Add(int64(micros(loaded.GetCpuUs())))
	if f := failureOf(loaded.GetFailure()); f.Failed() {
		return &UnusableError{Failure: f}
	}
	return nil
}

// spareMemory is what a child may take beside what its unit has and has written: compiled code and Go's heap.
const spareMemory = 512 << 20

// limit bounds the memory of a child that is to run units, where the system can.
func (p *process) limit(prog *Program, o loadOptions) error {
	if o.compileOnly {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left {
		return nil // as the reader of its replies will see
	}
	l := prog.Limits.withDefaults()
	if err := p.seat.Limit(prog.Memory + uint64(l.Stdout+l.Stderr+2*l.OutBytes) + spareMemory); err != nil {
		return fmt.Errorf("limit the memory of an executor: %w", err)
	}
	return nil
}

// ownFault reports whether this side killed a child for a reason that is no fault of what ran in it.
func ownFault(why error) bool { return errors.Is(why, errFreeze) || errors.Is(why, ErrDropped) }

func loadRequest(prog *Program, o loadOptions) *gridv1.ExecutorLoad {
	limits := prog.Limits.withDefaults()
	l := &gridv1.ExecutorLoad{
		Program:     prog.Path,
		Digest:      prog.Digest[:],
		Cache:       o.cache,
		CompileOnly: o.compileOnly,
		MemoryBytes: prog.Memory,
		Stdin:       prog.Stdin,
		Limits: &gridv1.ExecutorLimits{
			Stdout: limits.Stdout, Stderr: limits.Stderr, OutBytes: limits.OutBytes, OutFiles: limits.OutFiles,
		},
	}
	if !o.compileOnly {
		for _, f := range prog.Inputs {
			l.Inputs = append(l.Inputs, &gridv1.ExecutorFile{Path: f.Path, Source: f.Source, Size: f.Size})
		}
	}
	return l
}

// run runs a unit on a loaded child. After an error, or a failure by the child's death,
// the child is not usable.
func (p *process) run(ctx context.Context, u *Unit, log *slog.Logger) (Result, error) {
	start := p.clock()
	release := p.limited(ctx, u.Timeout)
	defer release()
	r := receiver{limits: p.program.Limits.withDefaults(), progress: u.Progress}
	if u.Save != nil {
		r.saver = newSaver(u, p.program, log)
		defer r.saver.close()
	}
	if u.Used != nil {
		defer p.meter(meterEvery, u.Used)()
	}
	done, err := p.exchange(u, &r)
	if err != nil {
		return p.lost(ctx, u, &r, lostBy{start: start, err: err})
	}
	if unfit := done.GetUnfit(); unfit != "" {
		p.besides.Add(int64(micros(done.GetCpuUs())))
		return Result{}, &ResumeError{Why: child.Text(unfit)}
	}
	r.outcome.ExitCode = done.GetExitCode()
	p.units += micros(done.GetCpuUs())
	return Result{
		Outcome: r.outcome,
		Failure: verdict(done, u.Succeeded),
		Times:   jobs.Times{CPU: micros(done.GetCpuUs()), Wall: min(micros(done.GetWallUs()), p.clock()-start)},
		Memory:  min(done.GetMemoryBytes(), p.program.Memory), // a guest may have broken out into the child
	}, nil
}

// exchange sends a unit and receives what it gives, to the end.
func (p *process) exchange(u *Unit, r *receiver) (*gridv1.ExecutorDone, error) {
	run := &gridv1.ExecutorRun{Args: u.Args, Seed: u.Seed[:], Save: u.Save != nil}
	for _, v := range u.Env {
		run.Env = append(run.Env, &gridv1.EnvVar{Name: v.Name, Value: v.Value})
	}
	if u.Resume != nil {
		for _, f := range u.Resume.Files {
			run.Resume = append(run.Resume, &gridv1.ExecutorResume{Source: f.Path, Size: f.Blob.Size, Digest: f.Blob.Digest[:]})
		}
	}
	if err := p.out.Send(&gridv1.ExecutorRequest{Request: &gridv1.ExecutorRequest_Run{Run: run}}); err != nil {
		return nil, err
	}
	if r.saver != nil {
		defer r.saver.ask(p)()
	}
	for {
		var reply gridv1.ExecutorReply
		if err := p.in.Receive(&reply); err != nil {
			return nil, err
		}
		if done := reply.GetDone(); done != nil {
			return done, r.check()
		}
		if err := r.take(&reply); err != nil {
			return nil, err
		}
	}
}

// lostBy is how a child was lost in the middle of a unit.
type lostBy struct {
	start time.Duration // by the child's clock
	err   error
}

// lost is the result of a unit whose child is dead, or makes no sense and is killed here.
func (p *process) lost(ctx context.Context, u *Unit, r *receiver, by lostBy) (Result, error) {
	p.kill(by.err)
	why := p.reason()
	result := Result{Outcome: r.outcome, Times: jobs.Times{CPU: p.lostCPU(), Wall: p.clock() - by.start}}
	switch {
	case errors.Is(why, errTimeout):
		result.Failure = jobs.Failure{Kind: jobs.FailureTimeout, Text: fmt.Sprintf("ran longer than %v", u.Timeout)}
	case ctx.Err() != nil:
		return Result{Times: result.Times}, context.Cause(ctx)
	case ownFault(why):
		return Result{Times: result.Times}, why
	default:
		text := p.obituary()
		if errors.Is(why, errProtocol) {
			text = why.Error() + "; " + text
		}
		result.Failure = jobs.Failure{Kind: jobs.FailureCrash, Text: child.Text(text)}
	}
	return result, nil
}

// verdict is the failure of a unit that came to its end.
func verdict(done *gridv1.ExecutorDone, succeeded func(uint32) bool) jobs.Failure {
	if f := failureOf(done.GetFailure()); f.Failed() {
		return f
	}
	if succeeded == nil {
		succeeded = func(code uint32) bool { return code == 0 }
	}
	if succeeded(done.GetExitCode()) {
		return jobs.Failure{}
	}
	if f := failureOf(done.GetOtherwise()); f.Failed() {
		return f
	}
	return jobs.Failure{Kind: jobs.FailureExit, Text: fmt.Sprintf("exit code %d", done.GetExitCode())}
}

// failureOf reads a failure as a child tells it. A child runs a stranger's program: it is taken at its word
// only in what its own unit may say of itself.
func failureOf(f *gridv1.Failure) jobs.Failure {
	if f.GetKind() == gridv1.FailureKind_FAILURE_KIND_UNSPECIFIED {
		return jobs.Failure{}
	}
	kind := min(max(f.GetKind(), gridv1.FailureKind_FAILURE_KIND_EXIT), gridv1.FailureKind_FAILURE_KIND_INPUT)
	return jobs.Failure{Kind: jobs.FailureKind(kind), Text: child.Text(f.GetText())}
}

func micros(n uint64) time.Duration {
	return time.Duration(min(n, uint64(24*time.Hour/time.Microsecond)*366)) * time.Microsecond
}

// errProtocol is in the error of a child that sends what no child sends.
var errProtocol = errors.New("the executor broke the protocol")

// receiver gathers what a unit gives. It bounds it by the limits that the child keeps too, since the guest
// may have broken out into the child.
type receiver struct {
	limits   Limits
	outcome  record.Outcome
	outBytes int64
	progress func(float64)
	told     time.Time // when progress was told last
	saver    *saver    // nil: no checkpoints
}

func (r *receiver) take(reply *gridv1.ExecutorReply) error {
	switch m := reply.GetReply().(type) {
	case *gridv1.ExecutorReply_Stdout:
		return gather(&r.outcome.Stdout, m.Stdout, r.limits.Stdout)
	case *gridv1.ExecutorReply_Stderr:
		return gather(&r.outcome.Stderr, m.Stderr, r.limits.Stderr+int64(len(child.CutMark(r.limits.Stderr))))
	case *gridv1.ExecutorReply_File:
		return r.file(m.File)
	case *gridv1.ExecutorReply_Progress:
		r.tell(m.Progress)
		return nil
	case *gridv1.ExecutorReply_Checkpoint:
		if r.saver != nil {
			return r.saver.take(m.Checkpoint)
		}
	}
	return fmt.Errorf("%w: a reply that does not belong to a unit", errProtocol)
}

// progressPause is how often Unit.Progress is called at most. A child keeps a longer pause.
const progressPause = 100 * time.Millisecond

func (r *receiver) tell(fraction float64) {
	if r.progress == nil || math.IsNaN(fraction) || time.Since(r.told) < progressPause {
		return
	}
	r.told = time.Now()
	r.progress(min(max(fraction, 0), 1))
}

func gather(to *[]byte, b []byte, limit int64) error {
	if int64(len(*to)+len(b)) > limit {
		return fmt.Errorf("%w: more output than allowed", errProtocol)
	}
	*to = append(*to, b...)
	return nil
}

// file takes a piece of a file. The pieces of one file follow each other, and files come in order.
func (r *receiver) file(f *gridv1.OutFile) error {
	path, n := f.GetPath(), len(r.outcome.Files)
	if r.outBytes += int64(len(f.GetData())); r.outBytes > r.limits.OutBytes {
		return fmt.Errorf("%w: more in /out than allowed", errProtocol)
	}
	if n > 0 && r.outcome.Files[n-1].Path == path {
		last := &r.outcome.Files[n-1]
		last.Data = append(last.Data, f.GetData()...)
		return nil
	}
	if int64(n) >= r.limits.OutFiles {
		return fmt.Errorf("%w: more files in /out than allowed", errProtocol)
	}
	r.outcome.Files = append(r.outcome.Files, record.File{Path: path, Data: f.GetData()})
	return nil
}

// check looks at the whole: whether others can take it as an outcome.
func (r *receiver) check() error {
	if err := r.outcome.Check(); err != nil {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	return nil
}
