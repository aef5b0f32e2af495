package e2e_test

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// killsVariable says how often TestP12Kills kills, and seedVariable repeats the random choices of a run.
	killsVariable = "E2E_KILLS"
	seedVariable  = "E2E_SEED"
	// someKills are for every change. They must be enough for each fail point.
	someKills = 60
	// killPatience is for each kill, on a machine with other things to do.
	killPatience = 5 * time.Second
	// longestLife of an agent that is killed at a random moment, from its start or from when it listens.
	longestLife = time.Second
	// hitWithin is how long the victim may take to come to a fail point or a report.
	hitWithin = 2 * time.Minute
	// streamUnits is how many units the jobs of the stream have, and streamLow when another job is due.
	streamUnits = 60
	streamLow   = 40
	recentJobs  = 4
)

// TestP12Kills kills an agent over and over, at every fail point and at random moments, while it runs units and
// keeps records and blobs of others. Whatever it acknowledged, and whatever others acknowledged of its own, is
// on its disk after each kill.
func TestP12Kills(t *testing.T) {
	t.Parallel()
	kills, seed := number(t, killsVariable, someKills), number(t, seedVariable, int(time.Now().UnixNano()&0xffffff))
	points := failPoints(t)
	if kills < 2*len(points) {
		t.Fatalf("%d kills are too few for %d fail points", kills, len(points))
	}
	t.Logf("%d kills, %d fail points; repeat with %s=%d", kills, len(points), seedVariable, seed)
	g := patientGrid(t, patience+time.Duration(kills)*killPatience, always, always, always)
	k := newKiller(g, points, rand.New(rand.NewPCG(uint64(seed), 0)))
	g.must("gridctl", "run", g.job("local", streamUnits, 30e6, ""), "-d", "local-results")
	k.victim.stop()
	began := time.Now()
	for n := range kills {
		k.feed()
		k.life(n)
		k.examine()
	}
	t.Logf("%d kills took %s", kills, time.Since(began).Round(time.Second))
	k.arm("")
	k.victim.start()
	k.finish()
	k.victim.stop()
	k.examine()
	t.Logf("%d jobs; acknowledged: %d reports of the victim's own; by the victim: %d reports, %d blobs",
		len(k.jobs), len(k.own), len(k.scribe.kept), len(k.scribe.stored))
	if len(k.own) < kills/10 || len(k.scribe.kept) < kills/2 || len(k.scribe.stored) < kills/2 {
		t.Error("that is too little to show anything")
	}
}

func number(t *testing.T, variable string, otherwise int) int {
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// failPoints lists the names of all fail points in the sources.
func failPoints(t *testing.T) []string {
	t.Helper()
	hit := regexp.MustCompile(`failpoint\.Hit\(("([a-z.]+)"\))?`)
	var names []string
	for _, root := range []string{"../../../agent", "../.."} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range hit.FindAllSubmatch(text, -1) {
				if len(m[2]) == 0 || slices.Contains(names, string(m[2])) {
					t.Errorf("%s: a fail point without a name of its own", path)
				}
				names = append(names, string(m[2]))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(names) == 0 {
		t.Fatal("no fail points found")
	}
	return names
}

// killer kills the last agent of a grid and keeps account of what must not be lost.
type killer struct {
	g      *grid
	random *rand.Rand
	points []string
	victim *daemon
	id     jobs.AgentID // the victim's
	pool   []peer.Member
	scribe *scribe
	jobs   []streamed

	own    map[jobs.Digest]bool // the victim's reports that others keep
	intact map[string]bool      // blobs' files that were found whole
}

// streamed is a job of the stream.
type streamed struct {
	id    jobs.JobID
	byOwn bool // its first steward is the victim
}

func newKiller(g *grid, points []string, random *rand.Rand) *killer {
	k := &killer{
		g: g, random: random, points: points, victim: g.agents[len(g.agents)-1], pool: g.members(g.agents[0]),
		scribe: newScribe(g), own: map[jobs.Digest]bool{}, intact: map[string]bool{},
	}
	k.id = g.idOf(k.victim)
	k.victim.env = []string{"IDLEGRID_FAILPOINT=" + g.path("armed")}
	return k
}

// arm names the point at which the victim dies, or none.
func (k *killer) arm(point string) {
	k.g.t.Helper()
	if err := os.WriteFile(k.g.path("armed"), []byte(point), 0o600); err != nil {
		k.g.t.Fatal(err)
	}
}

// feed submits jobs until there is enough to do, both under the victim's and under others' stewardship: a steward
// that has just started lends nothing for a while.
func (k *killer) feed() {
	k.g.t.Helper()
	led := func(own bool) bool {
		return slices.ContainsFunc(k.jobs, func(j streamed) bool { return j.byOwn == own })
	}
	for !led(true) || !led(false) || k.open() < streamLow {
		id := k.g.submit(k.g.job(fmt.Sprintf("stream%d", len(k.jobs)), streamUnits, 30e6, ""))
		first := peer.Stewards(jobs.ShardID{Job: id}, k.pool)[0]
		k.jobs = append(k.jobs, streamed{id, first.ID == k.id})
	}
}

// open returns how many units are open of the last jobs whose first steward stays.
func (k *killer) open() (n uint64) {
	k.g.t.Helper()
	for _, j := range k.recent() {
		if !j.byOwn {
			n += k.g.summary(k.g.agents[0], j.id).GetOpen()
		}
	}
	return n
}

// summary returns how an agent counts a job of one shard.
func (g *grid) summary(of *daemon, id jobs.JobID) (reply *gridv1.SummaryReply) {
	g.t.Helper()
	err := g.call(of.addresses().Grid, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
		reply, err = gridv1.NewStewardClient(conn).Summary(ctx, &gridv1.SummaryRequest{Shard: records.ShardToProto(jobs.ShardID{Job: id})})
		return err
	})
	if err != nil {
		g.t.Fatalf("ask %s about a job: %v", of.name, err)
	}
	return reply
}

// atStart are the fail points that an agent passes as it starts and seldom later.
var atStart = regexp.MustCompile(`^(durable|node|blobs)\.|\.loading$`)

// life starts the victim and lets it die: by turns at a fail point, the first one that it comes to or one that is
// armed in the middle of things, and at a random moment.
func (k *killer) life(n int) {
	t := k.g.t
	t.Helper()
	point, late := "", false
	if n%2 == 0 {
		point = k.points[n/2%len(k.points)]
		late = n/2 >= len(k.points) && !atStart.MatchString(point)
	}
	k.arm("")
	if point != "" && !late {
		k.arm(point)
	}
	k.victim.launch()
	ctx, end := context.WithCancel(k.g.ctx)
	var work sync.WaitGroup
	work.Go(func() { k.scribe.speak(ctx, k.victim, k.id) })
	defer func() {
		end()
		work.Wait()
		if !k.victim.wasKilled() {
			t.Fatalf("life %d: the victim was not killed, but ended: %s", n, k.victim.cmd.ProcessState)
		}
	}()
	switch {
	case n%10 == 5:
		k.await(fmt.Sprintf("life %d: a report of the victim's own", n), k.reported)
	case point == "" || late:
		if n%4 < 3 {
			k.g.until("the victim listens or has ended", func() bool { return k.victim.listens() || k.victim.hasEnded() })
		}
		select {
		case <-time.After(time.Duration(k.random.Int64N(int64(longestLife)))):
		case <-k.victim.ended:
			t.Fatalf("life %d: the victim ended by itself", n)
		}
	}
	if point == "" {
		k.victim.kill()
		return
	}
	k.arm(point)
	k.await(fmt.Sprintf("life %d: fail point %s", n, point), k.victim.hasEnded)
}

// await waits for what the victim comes to while there is work.
func (k *killer) await(what string, so func() bool) {
	k.g.t.Helper()
	end := time.Now().Add(hitWithin)
	k.g.until(what, func() bool {
		if so() {
			return true
		}
		if time.Now().After(end) {
			k.g.t.Fatalf("%s was not reached within %s", what, hitWithin)
		}
		k.feed()
		return false
	})
}

// reported tells whether another agent keeps a report of the victim's that was not there at its last death.
func (k *killer) reported() bool {
	k.g.t.Helper()
	for _, j := range k.recent() {
		for id, r := range k.g.reports(k.g.agents[0], j.id) {
			if r.Author == k.id && !k.own[id] {
				return true
			}
		}
	}
	return false
}

// recent returns the last jobs of the stream: those before are about done.
func (k *killer) recent() []streamed { return k.jobs[max(0, len(k.jobs)-recentJobs):] }

// examine looks at what the victim's death left on its disk.
func (k *killer) examine() {
	t := k.g.t
	t.Helper()
	for _, j := range k.recent() {
		for _, a := range k.g.agents[:len(k.g.agents)-1] {
			for id, o := range k.scribe.gather(a, j.id) {
				if o.report.Author == k.id {
					k.own[id] = true
				}
			}
		}
	}
	disk := recordsOnDisk(t, filepath.Join(k.victim.state, "records.db"))
	for id := range k.own {
		if !disk[id] {
			t.Errorf("report %s of the victim's own is gone, and others keep it", id)
		}
	}
	for id := range k.scribe.kept {
		if !disk[id] {
			t.Errorf("report %s is gone, and the victim said that it keeps it", id)
		}
	}
	if err := k.scribe.checkStored(filepath.Join(k.victim.state, "blobs"), k.intact); err != nil {
		t.Error(err)
	}
	if t.Failed() {
		t.FailNow()
	}
}

// finish waits for all jobs and compares their outcomes with those of the undisturbed run.
func (k *killer) finish() {
	t := k.g.t
	t.Helper()
	for i, j := range k.jobs {
		dir := fmt.Sprintf("results%d", i)
		k.g.must("gridctl", "results", j.id.String(), "--wait", "-d", dir)
		k.g.sameUnits(dir, "local-results")
	}
	if err := k.scribe.fetchStored(k.victim, k.id); err != nil {
		t.Error(err)
	}
	union := map[jobs.Digest]bool{}
	for _, j := range k.jobs {
		for id := range k.g.allReports(j.id) {
			union[id] = true
		}
	}
	for _, set := range []map[jobs.Digest]bool{k.own, k.scribe.kept} {
		for id := range set {
			if !union[id] {
				t.Errorf("nobody shows report %s, which was acknowledged", id)
			}
		}
	}
}

// TestOrdinaryBuild looks for fail points in a program as make builds it.
func TestOrdinaryBuild(t *testing.T) {
	t.Parallel()
	ordinary := filepath.Join(t.TempDir(), "gridagent")
	if err := goBuild(nil, "-o", ordinary, "./agent/cmd/gridagent"); err != nil {
		t.Fatal(err)
	}
	has := func(path string) bool {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(text), "IDLEGRID_FAILPOINT")
	}
	if has(ordinary) {
		t.Error("an ordinary build has fail points")
	}
	if !has(program("gridagent")) {
		t.Error("the build under test has none")
	}
}
