package child

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"

	"idlegrid/agent/executor/internal/guestfs"
	"idlegrid/agent/executor/internal/wire"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	experimentalsys "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/experimental/sysfs"
	"github.com/tetratelabs/wazero/sys"
)

// programName is a guest's zeroth argument.
const programName = "program"

const seedSize = 32

// guest is one unit while it runs.
type guest struct {
	program *program
	session *guestfs.Session
	module  api.Module // its instance
	in      *guestfs.In
	out     *guestfs.Out
	stdin   *stdin // nil: empty
	stdout  *stream
	stderr  *stream
	kept    *guestfs.Out // /checkpoint; nil: the program is checkpointed in another way
	clock   *clock
	random  *random

	progress progress
	keep     *keeper // nil: nobody wants checkpoints
	frames   frames
}

// run runs one unit and sends all that it gave but the last reply, which it returns. An error means that
// the process is of no more use.
func (p *program) run(ctx context.Context, r *gridv1.ExecutorRun, out *wire.Writer) (*gridv1.ExecutorDone, error) {
	g := p.newGuest(out)
	p.guest = g
	defer p.memory.reset()
	defer g.free()
	ending, err := g.run(ctx, r, out)
	if err != nil {
		return nil, err
	}
	if ending.unfit != "" {
		return &gridv1.ExecutorDone{Unfit: Text(ending.unfit)}, nil
	}
	if err := errors.Join(g.stdout.err, g.stderr.err, g.progress.err, g.keep.failed()); err != nil {
		return nil, err
	}
	if err := g.out.Walk(func(path string, piece []byte) error {
		f := &gridv1.OutFile{Path: path, Data: piece}
		return out.Send(&gridv1.ExecutorReply{Reply: &gridv1.ExecutorReply_File{File: f}})
	}); err != nil {
		return nil, err
	}
	return g.judge(ending), nil
}

func (p *program) newGuest(out *wire.Writer) *guest {
	var g *guest
	tick := p.heap.tick
	if p.way == WayFiles {
		tick = func() {
			p.heap.tick()
			g.keepFiles()
		}
	}
	s := &guestfs.Session{Tick: tick}
	quota := guestfs.Quota{Bytes: p.limits.GetOutBytes(), Files: p.limits.GetOutFiles()}
	g = &guest{
		program: p,
		session: s,
		in:      guestfs.NewIn(p.tree, s),
		out:     guestfs.NewOut(quota, s, &p.chunks),
		stdout:  newStdout(out, p.limits.GetStdout(), tick),
		stderr:  newStderr(out, p.limits.GetStderr(), tick),

		clock:    &clock{tick: tick},
		progress: progress{out: out},
	}
	if p.way == WayFiles {
		g.kept = guestfs.NewCheckpoint(quota, s, &p.chunks)
	}
	return g
}

// free gives the memory of all that was written back.
func (g *guest) free() {
	g.out.Free()
	if g.kept != nil {
		g.kept.Free()
	}
	for _, s := range []*stream{g.stdout, g.stderr} {
		if s.log != nil {
			s.log.Free()
		}
	}
}

// ending is how a guest ended: by an exit code, or by something in its way.
type ending struct {
	code uint32
	kind gridv1.FailureKind // unspecified: by the code
	text string
	// unfit is why the guest could not go on from a checkpoint; it did not run then.
	unfit string
}

// run runs the guest to its end. An error means that the process is of no more use.
func (g *guest) run(ctx context.Context, r *gridv1.ExecutorRun, out *wire.Writer) (ending, error) {
	if g.program.stdin != "" {
		f, err := os.Open(g.program.stdin)
		if err != nil {
			return ending{kind: gridv1.FailureKind_FAILURE_KIND_INPUT, text: "standard input: " + jobs.Outside(err)}, nil
		}
		defer func() { _ = f.Close() }() // it was only read
		g.stdin = &stdin{file: f, tick: g.session.Tick}
	}
	conf, err := g.config(r)
	if err != nil {
		return ending{}, err
	}
	resume, err := g.prepare(r, out)
	if err != nil {
		return ending{unfit: err.Error()}, nil
	}
	defer resume.close()
	return g.instantiate(experimental.WithMemoryAllocator(ctx, g.program.memory), conf, resume), nil
}

// config says all that the guest can reach.
func (g *guest) config(r *gridv1.ExecutorRun) (wazero.ModuleConfig, error) {
	if len(r.GetSeed()) != seedSize {
		return nil, fmt.Errorf("seed of %d bytes, expected %d", len(r.GetSeed()), seedSize)
	}
	c := g.clock
	g.random = &random{ChaCha8: rand.NewChaCha8([seedSize]byte(r.GetSeed())), tick: g.session.Tick}
	fs := mount(mount(wazero.NewFSConfig(), g.in, "/in"), g.out, "/out")
	if g.kept != nil {
		fs = mount(fs, g.kept, "/checkpoint")
	}
	conf := wazero.NewModuleConfig().WithName("").WithStartFunctions().
		WithArgs(append([]string{programName}, r.GetArgs()...)...).
		WithStdout(g.stdout).WithStderr(g.stderr).
		WithRandSource(g.random).
		WithWalltime(c.wall, sys.ClockResolution(millisecond)).WithNanotime(c.mono, sys.ClockResolution(millisecond)).
		WithNanosleep(c.sleep).WithOsyield(g.session.Tick).
		WithFSConfig(fs)
	if g.stdin != nil {
		conf = conf.WithStdin(g.stdin)
	}
	for _, v := range r.GetEnv() {
		conf = conf.WithEnv(v.GetName(), v.GetValue())
	}
	return conf, nil
}

func mount(c wazero.FSConfig, fs experimentalsys.FS, path string) wazero.FSConfig {
	return c.(sysfs.FSConfig).WithSysFSMount(fs, path)
}

// random is a guest's source of random numbers.
type random struct {
	*rand.ChaCha8
	tick func()
}

// Read fills b.
func (r *random) Read(b []byte) (int, error) {
	r.tick()
	return r.ChaCha8.Read(b)
}

// instantiate makes a fresh instance, runs it to its end, and closes whatever it left open.
func (g *guest) instantiate(ctx context.Context, conf wazero.ModuleConfig, from *resume) (e ending) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(overMinimum); !ok {
				panic(r)
			}
			e = ending{kind: gridv1.FailureKind_FAILURE_KIND_MEMORY, text: g.memoryText()}
		}
	}()
	module, err := g.program.runtime.InstantiateModule(ctx, g.program.module, conf)
	if err != nil {
		return startEnding(err)
	}
	e = g.enter(ctx, module, from)
	if err := module.Close(ctx); err != nil && e.kind == 0 {
		e = ending{kind: gridv1.FailureKind_FAILURE_KIND_CRASH, text: "close the instance: " + err.Error()}
	}
	return e
}

// enter runs a guest in its instance to its end, from the beginning or from where it was.
func (g *guest) enter(ctx context.Context, module api.Module, from *resume) ending {
	g.module = module
	if from != nil {
		if err := from.restore(); err != nil {
			return ending{unfit: err.Error()}
		}
	} else if start := module.ExportedFunction(exposedStart); start != nil {
		if _, err := start.Call(ctx); err != nil {
			return endingOf(err)
		}
	}
	switch g.program.way {
	case WayStep:
		return g.steps(ctx, module, from != nil)
	case WayCall:
		return g.calls(ctx, module)
	case WayFiles:
	}
	_, err := module.ExportedFunction(StartFunction).Call(ctx)
	return endingOf(err)
}

// What grid_step returns.
const (
	stepMore = 0
	stepDone = 1
)

// steps runs a guest step by step to its end.
func (g *guest) steps(ctx context.Context, module api.Module, resumed bool) ending {
	if initialize := module.ExportedFunction(InitializeFunction); initialize != nil && !resumed {
		if _, err := initialize.Call(ctx); err != nil {
			return endingOf(err)
		}
	}
	step := module.ExportedFunction(StepFunction)
	var result [1]uint64
	for {
		if err := step.CallWithStack(ctx, result[:]); err != nil {
			return endingOf(err)
		}
		switch n := api.DecodeI32(result[0]); n {
		case stepMore:
			g.session.Tick()
			g.save()
		case stepDone:
			return ending{}
		default:
			text := fmt.Sprintf("grid_step returned %d, expected %d (more) or %d (done)", n, stepMore, stepDone)
			return ending{kind: gridv1.FailureKind_FAILURE_KIND_EXIT, text: text}
		}
	}
}

// startEnding is the ending of a guest that was not even started: by its start section, or because it does
// not fit together.
func startEnding(err error) ending {
	if e := endingOf(err); e.kind == 0 || strings.HasPrefix(e.text, "start ") {
		return e
	}
	return ending{kind: gridv1.FailureKind_FAILURE_KIND_INPUT, text: "program: " + err.Error()}
}

// endingOf is the ending that wazero tells by an error.
func endingOf(err error) ending {
	if err == nil {
		return ending{}
	}
	if exit := (*sys.ExitError)(nil); errors.As(err, &exit) {
		return ending{code: exit.ExitCode()}
	}
	// The stack of this process says nothing to the people who wrote the guest.
	text, _, _ := strings.Cut(err.Error(), "\n\nGo runtime stack trace:")
	return ending{kind: gridv1.FailureKind_FAILURE_KIND_TRAP, text: text}
}

// judge says whether and why the guest failed. What the host could not do comes first: then nothing that
// the guest did counts.
func (g *guest) judge(e ending) *gridv1.ExecutorDone {
	done := &gridv1.ExecutorDone{ExitCode: e.code, MemoryBytes: g.program.memory.used}
	switch {
	case g.in.Fault() != nil:
		done.Failure = failure(gridv1.FailureKind_FAILURE_KIND_INPUT, jobs.Outside(g.in.Fault()))
	case g.stdin != nil && g.stdin.err != nil:
		done.Failure = failure(gridv1.FailureKind_FAILURE_KIND_INPUT, "standard input: "+jobs.Outside(g.stdin.err))
	case e.kind == gridv1.FailureKind_FAILURE_KIND_TRAP && g.program.memory.refused > 0:
		done.Failure = failure(gridv1.FailureKind_FAILURE_KIND_MEMORY, g.memoryText()+"\n"+e.text)
	case e.kind != 0:
		done.Failure = failure(e.kind, e.text)
	case g.stdout.over:
		text := fmt.Sprintf("wrote more than %d bytes to standard output", g.program.limits.GetStdout())
		done.Failure = failure(gridv1.FailureKind_FAILURE_KIND_EXIT, text)
	default:
		done.Otherwise = g.otherwise(e.code)
	}
	return done
}

// otherwise says why the guest failed if its exit code means that it did.
func (g *guest) otherwise(code uint32) *gridv1.Failure {
	text := fmt.Sprintf("exit code %d", code)
	if g.program.memory.refused > 0 {
		return failure(gridv1.FailureKind_FAILURE_KIND_MEMORY, g.memoryText()+"; "+text)
	}
	if g.session.Refusal != "" {
		text += "; " + g.session.Refusal
	}
	return failure(gridv1.FailureKind_FAILURE_KIND_EXIT, text)
}

func (g *guest) memoryText() string {
	m := g.program.memory
	unit, shift := "MiB", 20
	if m.limit < 1<<20 {
		unit, shift = "KiB", 10
	}
	return fmt.Sprintf("asked for %d %s of memory, the limit is %d %s", (m.refused+1<<shift-1)>>shift, unit, m.limit>>shift, unit)
}

// failure returns a failure whose text others can take: valid UTF-8 of bounded length.
func failure(kind gridv1.FailureKind, text string) *gridv1.Failure {
	return &gridv1.Failure{Kind: kind, Text: Text(text)}
}

// Text returns text as valid UTF-8 of at most jobs.MaxFailureText bytes.
func Text(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) > jobs.MaxFailureText {
		text = strings.ToValidUTF8(text[:jobs.MaxFailureText], "")
	}
	return text
}
