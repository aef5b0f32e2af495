package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	gridv1 "idlegrid/proto/grid/v1"
)

// quick is a policy under which a test need not wait for minutes.
const quick = `idle: 10s
idle_locked: 1s
resume_after: 10s
give_back_after: 15s
free_memory: 0%
away: {cores: 100%, memory: 90%}
`

// pc is an agent's PC as far as the owner's side sees it: what the helper in the owner's session reports over the agent's
// socket, and the folders of the system.
type pc struct {
	g     *grid
	agent *daemon
	root  string

	mu     sync.Mutex // guards everything below
	input  time.Time
	locked bool
	said   chan struct{} // holds a token when the helper has news
}

// addPC starts an agent of a class whose owner is away, on mains.
func (g *grid) addPC(class string, flags ...string) *pc {
	g.t.Helper()
	p := &pc{g: g, root: g.path("system"), input: time.Now().Add(-time.Hour), said: make(chan struct{}, 1)}
	for _, file := range []string{"stat", "meminfo", "diskstats"} { // as they are: nobody else uses this PC
		text, err := os.ReadFile(filepath.Join("/proc", file))
		if err != nil {
			g.t.Fatal(err)
		}
		p.write(filepath.Join("proc", file), string(text))
	}
	p.plug(true)
	p.agent = g.daemon("gridagent", "pc", append(flags, "--cores", "1", "--lease-period", "2s", "--lease-ttl", "10s",
		"--signals-root", p.root, "--signals-bus", "unix:path="+filepath.Join(p.root, "none"))...)
	g.must("gridagent", "join", "--state", p.agent.state, g.token("--class", class))
	if err := os.WriteFile(filepath.Join(p.agent.state, "policy.yaml"), []byte(quick), 0o600); err != nil {
		g.t.Fatal(err)
	}
	p.agent.start()
	g.agents = append(g.agents, p.agent)
	ctx, cancel := context.WithCancel(g.ctx)
	var helping sync.WaitGroup
	helping.Go(func() { p.help(ctx) })
	g.t.Cleanup(func() {
		cancel()
		helping.Wait()
	})
	return p
}

// help is the helper in the owner's session.
func (p *pc) help(ctx context.Context) {
	conn, err := grpc.NewClient("unix:"+filepath.Join(p.agent.state, "agent.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		p.g.t.Error(err)
		return
	}
	defer func() {
		if err := conn.Close(); err != nil {
			p.g.t.Error(err)
		}
	}()
	stream, err := gridv1.NewSessionClient(conn).Report(ctx)
	if err != nil {
		p.g.t.Errorf("the helper cannot report: %v", err)
		return
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for ctx.Err() == nil {
		p.mu.Lock()
		idle, locked, shows := uint64(time.Since(p.input).Milliseconds()), p.locked, false
		p.mu.Unlock()
		if err := stream.Send(&gridv1.SessionReport{IdleMs: &idle, Locked: &locked, Presenting: &shows}); err != nil {
			if ctx.Err() == nil {
				p.g.t.Errorf("the helper cannot report: %v", err)
			}
			return
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		case <-p.said:
		}
	}
}

func (p *pc) say(change func()) {
	p.mu.Lock()
	change()
	p.mu.Unlock()
	select {
	case p.said <- struct{}{}:
	default:
	}
}

func (p *pc) types() {
	p.say(func() { p.input, p.locked = time.Now(), false })
}

func (p *pc) locks() { p.say(func() { p.locked = true }) }

// plug puts the PC on mains or on its battery.
func (p *pc) plug(in bool) {
	p.g.t.Helper()
	online, status := "0", "Discharging"
	if in {
		online, status = "1", "Charging"
	}
	for path, text := range map[string]string{
		"AC/type": "Mains", "AC/online": online, "BAT0/type": "Battery", "BAT0/status": status, "BAT0/capacity": "80", "BAT0/present": "1",
	} {
		p.write(filepath.Join("sys", "class", "power_supply", path), text+"\n")
	}
}

// write makes a file of the system.
func (p *pc) write(path, text string) {
	p.g.t.Helper()
	path = filepath.Join(p.root, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		p.g.t.Fatal(err)
	}
}

// cpu returns the CPU time of the agent's units so far, in ticks, and how many processes run them.
func (p *pc) cpu() (ticks uint64, children int) {
	p.g.t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.agent.cmd.Process.Pid))
	if err != nil {
		p.g.t.Fatal(err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		for _, pid := range strings.Fields(string(text)) {
			stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
			if err != nil {
				continue // the child has ended
			}
			fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
			for _, f := range fields[11:13] { // user and system time: see proc(5)
				n, err := strconv.ParseUint(f, 10, 64)
				if err != nil {
					p.g.t.Fatal(err)
				}
				ticks += n
			}
			children++
		}
	}
	return ticks, children
}

// works waits until units get CPU time.
func (p *pc) works(why string) {
	p.g.t.Helper()
	before, _ := p.cpu()
	p.g.until("units run on the PC: "+why, func() bool {
		now, n := p.cpu()
		before = min(before, now) // one that ended took its time along
		return n > 0 && now > before+5
	})
}

// stands waits until units get none. However long they stood, they get none then.
func (p *pc) stands(why string) {
	p.g.t.Helper()
	last, since := uint64(0), time.Now()
	p.g.until("units stand still on the PC: "+why, func() bool {
		now, _ := p.cpu()
		if now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > time.Second
	})
}

// tells has a command of the agent's print texts.
func (p *pc) tells(command string, texts ...string) {
	p.g.t.Helper()
	out := p.g.must("gridagent", command, "--state", p.agent.state).stdout
	for _, text := range texts {
		if !strings.Contains(out, text) {
			p.g.t.Errorf("gridagent %s does not tell %q:\n%s", command, text, out)
		}
	}
}

// TestP9OwnerOfAPC has the owner of a PC type, lock the screen and pull the plug, as the agent hears of it from a helper
// over its socket and from the system's own folders. Work stands still, goes on, goes back, and ends elsewhere.
func TestP9OwnerOfAPC(t *testing.T) {
	g := newGrid(t, always)
	p := g.addPC(office)
	g.awaitEligible(2)
	server := g.agents[0]
	g.must("gridagent", "pause", "--state", server.state)
	id := g.submit(g.job("stream", 15, 4_000_000_000, "")).String()
	p.works("the owner is away")
	p.types()
	p.stands("the owner types")
	p.works("the owner is away again")
	p.types()
	p.stands("the owner types again")
	p.locks()
	p.works("the screen is locked")
	p.plug(false)
	p.stands("on battery")
	p.tells("status", "on battery")
	g.until("the PC holds nothing", func() bool {
		var s struct {
			Held int `json:"held_bundles"`
		}
		if err := json.Unmarshal([]byte(g.must("gridagent", "status", "--state", p.agent.state, "-o", "json").stdout), &s); err != nil {
			t.Fatal(err)
		}
		return s.Held == 0
	})
	if s := g.status(id); s.Accepted == s.Units {
		t.Error("the job was done before the plug was pulled: this shows nothing")
	}
	g.must("gridagent", "resume", "--state", server.state)
	g.until("what went back is done elsewhere", func() bool {
		s := g.status(id)
		return s.Accepted == s.Units
	})
	p.tells("why", "in use", "on battery", "nobody uses this PC")
}

// TestLaptopWorks: a laptop's agent runs a job by itself while its owner is away.
func TestLaptopWorks(t *testing.T) {
	g := newGrid(t)
	p := g.addPC("laptop")
	g.awaitEligible(1)
	id := g.submit(g.job("small", 5, 1_000_000, "")).String()
	g.until("the job is done on "+p.agent.name, func() bool {
		s := g.status(id)
		return s.Accepted == s.Units
	})
	p.tells("history", "small", "submitter "+alice+", key ") // who asked how far it is
	var past struct {
		Jobs []struct {
			Memory uint64 `json:"memory_bytes"`
			Out    uint64 `json:"out_bytes"`
		}
	}
	if err := json.Unmarshal([]byte(g.must("gridagent", "history", "--state", p.agent.state, "-o", "json").stdout), &past); err != nil {
		t.Fatal(err)
	}
	if len(past.Jobs) != 1 || past.Jobs[0].Memory < 64<<10 || past.Jobs[0].Out == 0 {
		t.Errorf("its history has %+v", past.Jobs)
	}
}
