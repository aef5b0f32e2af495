package ctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"idlegrid/coordinator/internal/accounts"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

func newSavingsCommand(a *app) *cobra.Command {
	var since, until string
	cmd := &cobra.Command{
		Use:   "savings",
		Short: "Show CPU-hours, energy, and what they would have cost elsewhere",
		Long: "savings shows what the coordinator has in its accounts of your work, an operator's of everybody's: CPU-hours by\n" +
			"what became of them, the energy that they took, its cost and CO2, and what the useful ones would have cost\n" +
			"elsewhere.\n\n" +
			"  useful    of accepted results\n" +
			"  repeated  of units that ran twice\n" +
			"  failed    of units that failed\n" +
			"  lost      of runs that were evicted, since their last checkpoint\n" +
			"  overhead  of agents themselves: checkpoints, transfers, records\n" +
			"  goodput   the useful share of all\n\n" +
			"Energy is what busy cores take more than idle ones: the PCs are on anyway. What is assumed is set in the\n" +
			"coordinator's coordinator.yaml, and shown. Formulas, and what is not counted: deploy/docs/accounting.md.\n\n" +
			"-o csv has a line a submitter. A name that a spreadsheet would take for a formula has a ' before it.",
		Example: "  gridctl savings\n  gridctl savings --since 2026-10-01 --until 2026-11-01 -o csv >october.csv",
		Args:    nothing,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.savings(cmd.Context(), since, until, time.Now()) },
	}
	a.outputFlag(cmd, formatCSV)
	cmd.Flags().StringVar(&since, "since", "30d", "`TIME` ago, such as 30d or 12h, or a day such as 2026-11-01")
	cmd.Flags().StringVar(&until, "until", "", "`TIME` likewise, of which nothing more counts (default: now)")
	return cmd
}

func (a *app) savings(ctx context.Context, since, until string, now time.Time) (err error) {
	from, to, err := span(since, until, now)
	if err != nil {
		return err
	}
	g, err := a.openGrid(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	reply, err := g.accounts(ctx, from, to)
	if err != nil {
		return err
	}
	v, err := newSavingsView(reply, from, to)
	if err != nil {
		return err
	}
	if len(v.Submitters) == 0 {
		a.say("no CPU time is accounted for from %s to %s", minute(from), minute(to))
	}
	return a.show(v.data())
}

// accounts asks the coordinator.
func (g *grid) accounts(ctx context.Context, since, until time.Time) (reply *gridv1.AccountsReply, err error) {
	at, err := g.coordinatorMember()
	if err == nil {
		err = g.call(ctx, at, func(ctx context.Context, conn grpc.ClientConnInterface) error {
			req := &gridv1.AccountsRequest{SinceMs: since.UnixMilli(), UntilMs: until.UnixMilli()}
			reply, err = gridv1.NewAccountsClient(conn).List(ctx, req)
			return err
		})
	}
	return reply, needsCoordinator("the account book", err)
}

// span returns what --since and --until mean.
func span(since, until string, now time.Time) (from, to time.Time, err error) {
	const kept = accounts.KeepRows
	if from, err = moment("--since", since, now); err != nil {
		return from, to, err
	}
	if to = now; until != "" {
		if to, err = moment("--until", until, now); err != nil {
			return from, to, err
		}
	}
	switch {
	case now.Sub(from) > kept:
		err = jobs.WithHint(jobs.Errorf(jobs.Invalid, "--since %s: accounts are kept for %d days", clip(since), kept/day24),
			"ask for a shorter time")
	case !to.After(from):
		err = jobs.WithHint(jobs.Errorf(jobs.Invalid, "from %s to %s is no time", minute(from), minute(to)),
			"--since has to be before --until, which is now unless it is given")
	case to.After(now.Add(day24)):
		err = jobs.Errorf(jobs.Invalid, "--until %s: that is in the future", clip(until))
	}
	return from, to, err
}

const day24 = 24 * time.Hour

// moment reads a time ago, or a day, which means its midnight here.
func moment(flag, text string, now time.Time) (time.Time, error) {
	if t, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return t, nil
	}
	ago, err := time.ParseDuration(text)
	if days, found := strings.CutSuffix(text, "d"); found {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		ago = time.Duration(n) * day24
	}
	if err != nil || ago < 0 {
		return now, jobs.Errorf(jobs.Invalid, "%s %s: expected a time ago, such as 30d or 12h, or a day, such as 2026-11-01", flag, clip(text))
	}
	return now.Add(-ago), nil
}

// data returns the view as each format has it.
func (v *savingsView) data() data {
	d := data{value: v, csv: v.csv(), sections: v.sections()}
	for _, s := range v.Submitters {
		d.names = append(d.names, s.Name)
	}
	return d
}

// sections are the tables for people.
func (v *savingsView) sections() []section {
	var out []section
	lines := append(slices.Clone(v.Submitters), v.Total)
	if len(v.Submitters) > 0 {
		out = append(out, hoursSection(lines))
	}
	if o := v.Offered; o != nil {
		out = append(out, section{"Core-hours that agents offered while the coordinator was on", rightAligned(0, [][]string{
			{"OFFERED", "USED", "SHARE"}, {hours(o.CoreHours), hours(o.UsedCPUHours), percent(o.UsedShare)},
		})})
	}
	if len(v.Submitters) == 0 {
		return append(out, v.assumed())
	}
	currency := v.Settings.Currency
	energy := [][]string{{"SUBMITTER", "KWH", "COST " + currency, "CO2 KG"}}
	for _, s := range lines {
		energy = append(energy, []string{s.Name, amount(s.EnergyKWh), amount(s.EnergyCost), amount(s.CO2Kg)})
	}
	out = append(out, section{"Energy of all of it", rightAligned(1, energy)})
	for i, p := range v.Settings.Prices {
		rows := [][]string{{"SUBMITTER", "COST " + currency, "SAVED " + currency}}
		for _, s := range lines {
			rows = append(rows, []string{s.Name, amount(s.Elsewhere[i].Cost), amount(s.Elsewhere[i].Saved)})
		}
		title := fmt.Sprintf("The useful ones elsewhere: %s, %s %s a core-hour on %s", p.Name, exact(p.PerCoreHour), currency, p.Date)
		out = append(out, section{title, rightAligned(1, rows)})
	}
	return append(out, v.assumed())
}

func hoursSection(lines []savingsOf) section {
	rows := [][]string{{"SUBMITTER", "USEFUL", "REPEATED", "FAILED", "LOST", "OVERHEAD", "GOODPUT"}}
	for _, s := range lines {
		rows = append(rows, []string{
			s.Name, hours(s.Useful), hours(s.Repeated), hours(s.Failed), hours(s.Lost), hours(s.Overhead), percent(s.Goodput),
		})
	}
	return section{"CPU-hours", rightAligned(1, rows)}
}

// assumed says what is reckoned with, and who says so.
func (v *savingsView) assumed() section {
	s := v.Settings
	rows := [][]string{}
	add := func(key, value string) {
		from := "coordinator.yaml"
		if slices.Contains(s.Shipped, key) {
			from = "as in a new grid: nobody has set it"
		}
		rows = append(rows, []string{key, value, from})
	}
	add("watts_per_core", exact(s.WattsPerCore)+" W")
	add("price_per_kwh", exact(s.PricePerKWh)+" "+s.Currency)
	add("co2_grams_per_kwh", exact(s.CO2PerKWh)+" g")
	add("prices", strconv.Itoa(len(s.Prices)))
	return section{"Assumed, beside that the PCs are on anyway, so that only what busy cores take more counts", rows}
}

// rightAligned pads the columns from one on, so that the digits of numbers stand below each other.
func rightAligned(from int, rows [][]string) [][]string {
	for c := from; c < len(rows[0]); c++ {
		widest := 0
		for _, row := range rows {
			widest = max(widest, len([]rune(row[c])))
		}
		for _, row := range rows {
			row[c] = strings.Repeat(" ", widest-len([]rune(row[c]))) + row[c]
		}
	}
	return rows
}

func hours(h float64) string { return strconv.FormatFloat(h, 'f', 2, 64) }

// amount is of kWh, kilograms and money, of which a small grid has little.
func amount(n float64) string {
	if s := strconv.FormatFloat(n, 'f', 2, 64); s != "-0.00" {
		return s
	}
	return "0.00"
}

// exact is a setting as a file has it.
func exact(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

func percent(share *float64) string {
	if share == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", 100**share)
}
