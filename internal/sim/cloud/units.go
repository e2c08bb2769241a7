package cloud

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

var sizeUnits = []struct {
	suffix string
	shift  uint
}{
	{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}, {"B", 0}, {"", 0},
}

// ParseSize reads a number of bytes such as 512 or 64MiB.
func ParseSize(s string) (Size, error) {
	for _, unit := range sizeUnits {
		digits, ok := strings.CutSuffix(s, unit.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64>>unit.shift {
			break
		}
		return Size(n << unit.shift), nil
	}
	return 0, fmt.Errorf("size %q: want a whole number of bytes such as 512, 64KiB, 4MiB, 2GiB or 1TiB", s)
}

// UnmarshalYAML reads a size.
func (s *Size) UnmarshalYAML(node *yaml.Node) error {
	return scalar(node, s, ParseSize)
}

func parseDuration(s string) (Duration, error) {
	if s == "never" {
		return 0, nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return Duration(time.Duration(n) * 24 * time.Hour), nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("duration %q: want such as 90s, 36h, 14d or never", s)
	}
	return Duration(d), nil
}

// UnmarshalYAML reads a duration.
func (d *Duration) UnmarshalYAML(node *yaml.Node) error {
	return scalar(node, d, parseDuration)
}

// Seconds is the duration in whole seconds, as vCD counts.
func (d Duration) Seconds() int { return int(time.Duration(d) / time.Second) }

func parseRange(s string) (Range, error) {
	first, last, _ := strings.Cut(s, "-")
	a, err := netip.ParseAddr(strings.TrimSpace(first))
	if err == nil {
		var b netip.Addr
		b, err = netip.ParseAddr(strings.TrimSpace(last))
		if err == nil && !b.Less(a) {
			return Range{a.String(), b.String()}, nil
		}
	}
	return Range{}, fmt.Errorf("range %q: want two addresses, FIRST-LAST", s)
}

// UnmarshalYAML reads a range.
func (r *Range) UnmarshalYAML(node *yaml.Node) error {
	return scalar(node, r, parseRange)
}

func scalar[T any](node *yaml.Node, into *T, parse func(string) (T, error)) error {
	if node.Kind != yaml.ScalarNode {
		return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: want a plain value", node.Line)}}
	}
	value, err := parse(node.Value)
	if err != nil {
		// A TypeError is gathered with the others; any other error would
		// end the parse without a line.
		return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: %v", node.Line, err)}}
	}
	*into = value
	return nil
}
