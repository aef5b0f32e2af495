// Package child is what happens inside an executor process: it loads one program and runs units of it, each
// in a fresh instance, one after the other.
//
// It promises that the process ends when its standard input does, whatever the guest is doing; that a guest
// reaches nothing but its arguments, its environment, its three streams, /in, /out and /checkpoint; that the same unit
// sees the same clock and the same random numbers everywhere; and that what it makes the process hold is
// bounded. It does not bound time: the parent kills the process. It is no second wall against an escape
// from wazero.
//
// Checkpoints. The parent asks for one while a guest runs; the goroutine that reads its requests sets a flag, which
// the guest's own goroutine looks at where the guest has called out or is between two steps. So everything that a
// checkpoint reads stands still, and no lock is needed.
//
// Garbage collection. A guest that computes sits in machine code that Go cannot interrupt, and a collection
// that began then would stop the whole process until the guest calls out. So the collector is off while a
// unit runs, except where the guest itself has just called out (see heap), and runs between units.
package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"idlegrid/agent/executor/internal/host"
	"idlegrid/agent/executor/internal/wire"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// ExitProtocol is the exit code of a process whose parent made no sense, or that the system refused memory.
const ExitProtocol = 70

// Serve runs the child until in ends, and then ends the process: it does not return.
func Serve(in io.Reader, out io.Writer, p host.Priority) {
	// One for the guest, which cannot be interrupted, and one for everything else. Setting it also keeps Go
	// from changing it later, for which it would have to stop the guest.
	runtime.GOMAXPROCS(2)
	// Only the parent ends this process. A service manager and a terminal send these to everybody, and a
	// unit that died of it would count as failed.
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	requests := make(chan *gridv1.ExecutorRequest)
	s := &server{out: wire.NewWriter(out)}
	go s.receive(in, requests)
	if err := host.StepBack(p); err != nil {
		s.warning = err.Error()
	}
	for r := range requests {
		if err := s.handle(r); err != nil {
			fail(err)
		}
	}
}

// fail ends the process with a message for the parent, which keeps what is said on standard error.
func fail(err error) {
	fmt.Fprintln(os.Stderr, "executor:", err)
	os.Exit(ExitProtocol)
}

// receive hands requests on, and ends the process with its input: then the parent is gone, or is done. It also
// takes what comes while a guest runs.
func (s *server) receive(in io.Reader, to chan<- *gridv1.ExecutorRequest) {
	reader := wire.NewReader(in, wire.MaxRequest)
	for {
		r := new(gridv1.ExecutorRequest)
		if err := reader.Receive(r); err != nil {
			if errors.Is(err, io.EOF) {
				os.Exit(0)
			}
			fail(err)
		}
		switch save := r.GetSave(); {
		case save.GetWhole():
			s.due.Store(dueWhole)
			continue
		case save != nil:
			s.due.Store(due)
			continue
		}
		s.due.Store(notDue) // what was asked for in an earlier run
		to <- r
	}
}

// server answers requests, one at a time.
type server struct {
	out     *wire.Writer
	program *program
	cpu     time.Duration // what was reported so far
	warning string
	due     atomic.Int32 // whether a checkpoint is
}

// Whether a checkpoint is due.
const (
	notDue = iota
	due
	dueWhole
)

func (s *server) handle(r *gridv1.ExecutorRequest) error {
	switch r := r.GetRequest().(type) {
	case *gridv1.ExecutorRequest_Load:
		return s.load(r.Load)
	case *gridv1.ExecutorRequest_Run:
		return s.run(r.Run)
	}
	return errors.New("a request that is neither load nor run")
}

func (s *server) load(l *gridv1.ExecutorLoad) error {
	if s.program != nil {
		return errors.New("a second load")
	}
	p, err := load(context.Background(), l)
	loaded := &gridv1.ExecutorLoaded{Warning: s.warning}
	if err != nil {
		loaded.Failure = failure(gridv1.FailureKind_FAILURE_KIND_INPUT, jobs.Outside(err))
	}
	if p != nil {
		s.program = p
		p.due = &s.due
		p.ready()
	}
	loaded.CpuUs = s.spent()
	return s.out.Send(&gridv1.ExecutorReply{Reply: &gridv1.ExecutorReply_Loaded{Loaded: loaded}})
}

func (s *server) run(r *gridv1.ExecutorRun) error {
	if s.program == nil {
		return errors.New("a run before a load")
	}
	start := time.Now()
	done, err := s.program.run(context.Background(), r, s.out)
	if err != nil {
		return err
	}
	done.WallUs = uint64(time.Since(start).Microseconds())
	done.CpuUs = s.spent()
	err = s.out.Send(&gridv1.ExecutorReply{Reply: &gridv1.ExecutorReply_Done{Done: done}})
	s.program.heap.collect(betweenUnits)
	return err
}

// spent returns the CPU time since it was last asked, in microseconds.
func (s *server) spent() uint64 {
	now := host.CPUTime()
	d := now - s.cpu
	s.cpu = now
	return uint64(d.Microseconds())
}
