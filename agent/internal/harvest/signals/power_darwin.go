package signals

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// powerTimeout bounds how long pmset may take.
const powerTimeout = 2 * time.Second

var charge = regexp.MustCompile(`InternalBattery[^\n]*\t(\d{1,3})%`)

// power asks pmset, which every Mac has.
type power struct{}

func newPower(Options) *power { return &power{} }

func (*power) read(now time.Time) (Reading[Power], error) {
	ctx, cancel := context.WithTimeout(context.Background(), powerTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "/usr/bin/pmset", "-g", "batt").Output()
	if err != nil {
		return Reading[Power]{}, fmt.Errorf("pmset: %w", err)
	}
	return parsePower(out, now), nil
}

func parsePower(out []byte, now time.Time) Reading[Power] {
	found := charge.FindSubmatch(out)
	if found == nil {
		return Reading[Power]{At: now, None: true}
	}
	percent, err := strconv.Atoi(string(found[1]))
	if err != nil || percent > 100 {
		percent = 0 // not known reads as empty
	}
	return Reading[Power]{At: now, Value: Power{
		Battery: !bytes.Contains(out, []byte("'AC Power'")), Charge: float64(percent) / 100,
	}}
}
