package combine

import (
	"bufio"
	"errors"
	"fmt"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"

	"idlegrid/jobs/examples/tour/draw"
	"idlegrid/jobs/examples/tour/route"
)

const (
	pictureFile = "tour.png"
	tourFile    = "best.csv"
)

// Write puts the picture and the best tour into a folder and the numbers onto w.
func (r *Results) Write(dir string, w io.Writer) error {
	best := r.Found[0]
	story := draw.Story{Tour: r.Tour, Km: best.Km, GreedyKm: best.GreedyKm}
	for _, f := range r.Found {
		story.Lengths = append(story.Lengths, f.Km)
	}
	picture, err := draw.Tour(story)
	if err != nil {
		return fmt.Errorf("draw the tour: %w", err)
	}
	if err := create(dir, pictureFile, func(w io.Writer) error { return png.Encode(w, picture) }); err != nil {
		return err
	}
	if err := create(dir, tourFile, func(w io.Writer) error { return route.Write(w, r.Tour) }); err != nil {
		return err
	}
	return r.summarise(w)
}

// summarise prints the numbers for people.
func (r *Results) summarise(w io.Writer) error {
	best := r.Found[0]
	shorter := func(km float64) string { return fmt.Sprintf("%4.1f %% shorter than greedy", 100*(1-km/best.GreedyKm)) }
	rows := []struct{ name, value, note string }{
		{"greedy start", draw.Thousands(best.GreedyKm), "always to the nearest airport left"},
		{"median", draw.Thousands(r.Median), shorter(r.Median)},
		{"best", draw.Thousands(best.Km), shorter(best.Km) + fmt.Sprintf(", unit %d", best.Unit)},
	}
	lines := []string{
		fmt.Sprintf("A tour of %s airports: the shortest of %s tours found by %s units.",
			draw.Thousands(float64(len(r.Tour))), draw.Thousands(float64(len(r.Found))), draw.Thousands(float64(r.Units))), "",
	}
	for _, row := range rows {
		lines = append(lines, fmt.Sprintf("  %-14s%12s km   %s", row.name, row.value, row.note))
	}
	lines = append(lines, "", fmt.Sprintf("It starts and ends at %s. Map: %s, stops in order: %s",
		r.Tour[0].Code, pictureFile, tourFile))
	_, err := io.WriteString(w, strings.Join(lines, "\n")+"\n")
	return err
}

// create writes a file, and fails when it is not whole.
func create(dir, name string, write func(io.Writer) error) error {
	file, err := os.Create(filepath.Join(dir, name)) // the folder is where the caller wants it
	if err != nil {
		return err
	}
	b := bufio.NewWriter(file)
	if err := errors.Join(write(b), b.Flush(), file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
