package simnet_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"

	"idlegrid/agent/peer/simnet"
)

const (
	alice = "10.0.0.1"
	bob   = "10.0.0.2"
	carol = "10.0.0.3"
)

// must returns a function that unwraps a result or ends the test.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// connect returns both ends of a stream from alice to bob.
func connect(t *testing.T, n *simnet.Network) (near, far net.Conn) {
	t.Helper()
	l := must[*simnet.Listener](t)(n.Host(bob).Listen(0))
	defer func() { _ = l.Close() }()
	near = must[net.Conn](t)(n.Host(alice).Dial(t.Context(), l.Addr().String()))
	far = must[net.Conn](t)(l.Accept())
	return near, far
}

func TestStreamIsANetConn(t *testing.T) {
	nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
		near, far := connect(t, simnet.New(0, 1))
		return near, far, func() { _, _ = near.Close(), far.Close() }, nil
	})
}

func TestStreamKeepsItsOrderOverACut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(time.Millisecond, 1)
		near, far := connect(t, n)
		n.Partition([]string{alice}, []string{bob})
		for range 100 {
			if _, err := near.Write([]byte("abc")); err != nil {
				t.Fatal(err)
			}
		}
		if err := near.Close(); err != nil {
			t.Fatal(err)
		}
		if err := far.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("read over a cut: %v", err)
		}
		n.Heal()
		if err := far.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		all := must[[]byte](t)(io.ReadAll(far))
		want := ""
		for range 100 {
			want += "abc"
		}
		if string(all) != want {
			t.Fatalf("%d bytes arrived: %.20q", len(all), all)
		}
	})
}

func TestStreamTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := connect(t, simnet.New(30*time.Millisecond, 1))
		start := time.Now()
		must[int](t)(near.Write([]byte("x")))
		must[int](t)(far.Read(make([]byte, 1)))
		if d := time.Since(start); d != 30*time.Millisecond {
			t.Fatalf("took %s", d)
		}
	})
}

func TestStreamPushesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := connect(t, simnet.New(time.Millisecond, 1))
		if err := near.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := near.Write(make([]byte, 1<<20))
		if !errors.Is(err, os.ErrDeadlineExceeded) || n != 64<<10 {
			t.Fatalf("wrote %d bytes to a reader that does not read: %v", n, err)
		}
		if err := near.SetWriteDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, func() { _ = far.Close() })
		if _, err := near.Write(make([]byte, 1)); !errors.Is(err, syscall.EPIPE) {
			t.Fatalf("write to a closed reader: %v", err)
		}
	})
}

// Whatever the order in which things arrive, writes do not fail while reads wait: gRPC tries a call again at once on
// such a connection, for ever if time stands still.
func TestResetTakesTheWayBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(time.Millisecond, 1)
		near, far := connect(t, n)
		n.CutWays([]string{bob}, []string{alice})
		if err := far.Close(); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			must[int](t)(near.Write([]byte("x")))
			time.Sleep(10 * time.Millisecond)
		}
		n.Heal()
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Fatalf("read from a closed writer: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
		if _, err := near.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Fatalf("write to a closed reader: %v", err)
		}
	})
}

func TestDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(time.Millisecond, 1)
		a := n.Host(alice)
		n.Host(bob)
		if _, err := a.Dial(t.Context(), bob+":1"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("nobody listens: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := a.Dial(ctx, carol+":1"); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("host that is off: %v after %s", err, time.Since(start))
		}
		start = time.Now()
		if _, err := a.Dial(t.Context(), carol+":1"); err == nil || time.Since(start) != 2*time.Minute {
			t.Errorf("host that is off, no deadline: %v after %s", err, time.Since(start))
		}
	})
}

func TestListenerClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(time.Millisecond, 1)
		l := must[*simnet.Listener](t)(n.Host(bob).Listen(7))
		if _, err := n.Host(bob).Listen(7); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("port taken twice: %v", err)
		}
		c := must[net.Conn](t)(n.Host(alice).Dial(t.Context(), bob+":7"))
		time.AfterFunc(time.Second, func() { _, _ = l.Close(), l.Close() })
		must[net.Conn](t)(l.Accept())
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept after close: %v", err)
		}
		unread := must[*simnet.Listener](t)(n.Host(bob).Listen(7))
		d := must[net.Conn](t)(n.Host(alice).Dial(t.Context(), bob+":7"))
		_ = unread.Close()
		if _, err := d.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("stream that nobody accepted: %v", err)
		}
		_ = c.Close()
	})
}

func TestStopIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(time.Millisecond, 1)
		near, far := connect(t, n)
		p := must[*simnet.PacketConn](t)(n.Host(bob).ListenPacket(0))
		n.Stop(bob)
		if _, err := far.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the stopped host writes: %v", err)
		}
		if _, _, err := p.ReadFrom(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the stopped host reads packets: %v", err)
		}
		if err := near.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the other end reads: %v", err)
		}
		must[*simnet.Listener](t)(n.Host(bob).Listen(9))
		must[net.Conn](t)(n.Host(alice).Dial(t.Context(), bob+":9"))
	})
}

func TestPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(time.Millisecond, 1)
		a := must[*simnet.PacketConn](t)(n.Host(alice).ListenPacket(5))
		b := must[*simnet.PacketConn](t)(n.Host(bob).ListenPacket(6))
		// count sends k packets and returns how many arrive.
		count := func(k int) (arrived int) {
			for range k {
				must[int](t)(a.WriteTo([]byte("hello"), b.LocalAddr()))
			}
			if err := b.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 10)
			for {
				m, from, err := b.ReadFrom(buf)
				if errors.Is(err, os.ErrDeadlineExceeded) {
					return arrived
				}
				if err != nil || string(buf[:m]) != "hello" || from.String() != alice+":5" {
					t.Fatalf("%q from %v: %v", buf[:m], from, err)
				}
				arrived++
				time.Sleep(time.Microsecond) // slower than they come
			}
		}
		if got := count(10); got != 10 {
			t.Errorf("%d of 10 packets arrived", got)
		}
		if got := count(5000); got < 1024 || got == 5000 {
			t.Errorf("%d of 5000 packets at once arrived: the queue holds 1024", got)
		}
		n.SetLoss(0.5)
		if got := count(500); got < 150 || got > 350 {
			t.Errorf("%d of 500 packets arrived at a loss of half", got)
		}
		n.SetLoss(0)
		n.Partition([]string{bob}, []string{alice, carol})
		if got := count(10); got != 0 {
			t.Errorf("%d packets crossed a cut", got)
		}
		n.Heal()
		if got := count(10); got != 10 {
			t.Errorf("%d of 10 packets arrived after the cut was mended", got)
		}
		if _, err := a.WriteTo(make([]byte, 70000), b.LocalAddr()); !errors.Is(err, syscall.EMSGSIZE) {
			t.Errorf("too large a packet: %v", err)
		}
	})
}

func TestOneWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(time.Millisecond, 1)
		near, far := connect(t, n)
		there, back := must[*simnet.PacketConn](t)(n.Host(alice).ListenPacket(5)), must[*simnet.PacketConn](t)(n.Host(bob).ListenPacket(6))
		n.CutWays([]string{alice}, []string{bob})
		must[int](t)(near.Write([]byte("there")))
		must[int](t)(far.Write([]byte("back")))
		must[int](t)(there.WriteTo([]byte("there"), back.LocalAddr()))
		must[int](t)(back.WriteTo([]byte("back"), there.LocalAddr()))
		buf := make([]byte, 10)
		for name, read := range map[string]func() (int, error){
			"stream": func() (int, error) { return near.Read(buf) },
			"packet": func() (int, error) { m, _, err := there.ReadFrom(buf); return m, err },
		} {
			if m, err := read(); err != nil || string(buf[:m]) != "back" {
				t.Errorf("%s the way that is left: %q, %v", name, buf[:m], err)
			}
		}
		if err := errors.Join(far.SetReadDeadline(time.Now().Add(time.Minute)), back.SetReadDeadline(time.Now().Add(time.Minute))); err != nil {
			t.Fatal(err)
		}
		if _, err := far.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("stream over the cut: %v", err)
		}
		if _, _, err := back.ReadFrom(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("packet over the cut: %v", err)
		}
		if n.Counts().Stopped < 2 {
			t.Errorf("counts %+v", n.Counts())
		}
		l := must[*simnet.Listener](t)(n.Host(alice).Listen(7))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := n.Host(bob).Dial(ctx, l.Addr().String()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a stream was opened without a way back: %v", err)
		}
		n.Heal()
		if err := far.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if m, err := far.Read(buf); err != nil || string(buf[:m]) != "there" {
			t.Errorf("stream after the cut was mended: %q, %v", buf[:m], err)
		}
	})
}

func TestDuplicatesAndJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New(time.Millisecond, 1)
		a := must[*simnet.PacketConn](t)(n.Host(alice).ListenPacket(5))
		b := must[*simnet.PacketConn](t)(n.Host(bob).ListenPacket(6))
		n.SetDuplicates(0.5)
		n.SetJitter(20 * time.Millisecond)
		const sent = 200
		for i := range byte(sent) {
			must[int](t)(a.WriteTo([]byte{i}, b.LocalAddr()))
			time.Sleep(time.Millisecond)
		}
		if err := b.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		times, overtaken, last := map[byte]int{}, 0, byte(0)
		for buf := make([]byte, 1); ; {
			if _, _, err := b.ReadFrom(buf); err != nil {
				break
			}
			if times[buf[0]]++; buf[0] < last {
				overtaken++
			}
			last = buf[0]
		}
		twice := 0
		for _, k := range times {
			twice += k - 1
		}
		if len(times) != sent || twice < 60 || twice > 140 || overtaken < 50 || n.Counts().Twice != twice || n.Counts().Late != sent {
			t.Errorf("%d arrived, %d twice, %d overtaken, counts %+v", len(times), twice, overtaken, n.Counts())
		}
	})
}
