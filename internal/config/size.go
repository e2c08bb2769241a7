package config

import (
	"fmt"
	"math"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// A Size is a number of bytes. In the file it is written with a unit, such as
// 200MiB or 1.5GB, or plainly in bytes.
type Size int64

var size = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?(?:([kKMGT])(i?))?B?$`)

// ParseSize reads a size: a number, with k, M, G or T for powers of 1000 and
// Ki, Mi, Gi or Ti for powers of 1024, and a B behind it that may be left out.
func ParseSize(s string) (Size, error) {
	m := size.FindStringSubmatch(s)
	if m == nil || m[2] == "k" && m[3] != "" {
		return 0, fmt.Errorf("%q: want a size such as 200MiB", s)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, fmt.Errorf("%q: want a size such as 200MiB", s)
	}
	base := 1000.0
	if m[3] != "" {
		base = 1024
	}
	for _, unit := range []string{"kK", "M", "G", "T"} {
		if m[2] == "" {
			break
		}
		n *= base
		if m[2] == unit || unit == "kK" && (m[2] == "k" || m[2] == "K") {
			break
		}
	}
	if n >= math.MaxInt64 {
		return 0, fmt.Errorf("%q: too large", s)
	}
	return Size(n), nil
}

// UnmarshalYAML reads a size.
func (s *Size) UnmarshalYAML(node *yaml.Node) (err error) {
	if node.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: want a size such as 200MiB", node.Line)
	}
	if *s, err = ParseSize(node.Value); err != nil {
		return fmt.Errorf("line %d: %w", node.Line, err)
	}
	return nil
}
