package config

import (
	"strings"
	"testing"
)

func TestParseSize(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want Size
	}{
		{"0", 0}, {"4096", 4096}, {"512B", 512}, {"200MiB", 200 << 20}, {"200 MiB", 200 << 20}, {"64Ki", 64 << 10},
		{"1.5GiB", 3 << 29}, {"1k", 1000}, {"1KB", 1000}, {"1KiB", 1024}, {"2MB", 2e6}, {"3G", 3e9}, {"1TiB", 1 << 40}, {"1T", 1e12},
	} {
		if got, err := ParseSize(tc.in); got != tc.want || err != nil {
			t.Errorf("%s: got %d, %v; want %d", tc.in, got, err, tc.want)
		}
	}
	for _, in := range []string{"", "MiB", "-1", "1kiB", "1 XB", "1e9", "200MiB/s", "99999999999TiB", "0x10", "1,5GiB"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("%q: got %d, want an error", in, got)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	f.Add("200MiB")
	f.Add("1.5 GB")
	f.Fuzz(func(t *testing.T, in string) {
		n, err := ParseSize(in)
		if err == nil && (n < 0 || strings.ContainsAny(in, "-+eE")) {
			t.Errorf("%q is %d", in, n)
		}
	})
}

func TestLimitsOfHostsAndOfTheLine(t *testing.T) {
	c, err := Load(write(t, strings.Replace(small, "version: 1", "version: 1\nlimits: {perHost: {disks: 3}, perVCenter: {inFlight: 64MiB}, bandwidth: 200MiB}", 1)))
	if err != nil {
		t.Fatal(err)
	}
	l := c.Limits
	if l.PerHost != (Bound{3, 32 << 20}) || l.PerVCenter != (Bound{26, 64 << 20}) || l.Bandwidth != 200<<20 {
		t.Errorf("got %+v", l)
	}
}
