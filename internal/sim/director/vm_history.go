package director

import (
	"path"
	"time"
)

// metricPace is how far apart the samples of a VM's metrics are (Service
// Provider Admin Guide, "Configure a Metrics Database": five minutes), and
// metricAge how far back they go when nobody asks for another time.
const (
	metricPace = 5 * time.Minute
	metricAge  = 24 * time.Hour
)

// metric is one measure of a running VM.
type metric struct{ name, unit, value string }

// metricsOf are the measures of a running VM. Guests here do nothing worth
// measuring: what does not follow from the VM itself is constant.
func (m *vm) metricsOf() []metric {
	return []metric{
		{"cpu.usage.average", "PERCENT", "1.5"}, {"cpu.usage.maximum", "PERCENT", "4.0"}, {"cpu.usagemhz.average", "MEGAHERTZ", "30.0"},
		{"mem.usage.average", "PERCENT", "12.0"}, {"disk.provisioned.latest", "KILOBYTE", num(m.provisioned() >> 10)},
		{"disk.used.latest", "KILOBYTE", num(m.facts.committed >> 10)},
	}
}

// wantsMetric tells whether the patterns of a spec name a metric; none name all.
func wantsMetric(spec *node, name string) bool {
	patterns := childrenOf(spec, "MetricPattern")
	for _, p := range patterns {
		if hit, err := path.Match(allText(p), name); err == nil && hit {
			return true
		}
	}
	return len(patterns) == 0
}

// metrics are those of a VM: CurrentUsage of a running one.
func (c *call) metrics() (*answer, error) {
	m, spec, err := c.measured("CurrentUsageSpec")
	if err != nil {
		return nil, err
	}
	const typ = mediaVCloud + "metrics.currentUsage"
	d := add(el("CurrentUsage", "href", c.s.vmHref(m)+"/metrics/current", "type", typ+"+xml"), link("up", c.s.vmHref(m), mediaVCloud+"vm+xml"))
	if m.state() != stateOn {
		return ok(typ, d), nil
	}
	for _, v := range m.metricsOf() {
		if wantsMetric(spec, v.name) {
			add(d, el("Metric", "name", v.name, "unit", v.unit, "value", v.value))
		}
	}
	return ok(typ, d), nil
}

// history is HistoricUsage: what was measured since the VM was deployed.
func (c *call) history() (*answer, error) {
	m, spec, err := c.measured("HistoricUsageSpec")
	if err != nil {
		return nil, err
	}
	now := c.s.now()
	from, err := metricTime(spec, "Start", now, now.Add(-metricAge))
	if err != nil {
		return nil, err
	}
	to, err := metricTime(spec, "End", now, now)
	if err != nil {
		return nil, err
	}
	if to.Before(from) {
		return nil, badRequest("The end of the metrics' time is before its start.")
	}
	const typ = mediaVCloud + "metrics.historicUsage"
	d := add(el("HistoricUsage", "href", c.s.vmHref(m)+"/metrics/historic", "type", typ+"+xml"), link("up", c.s.vmHref(m), mediaVCloud+"vm+xml"))
	if m.state() != stateOn {
		return ok(typ, d), nil
	}
	since := m.created
	if at := m.vapp.deployedAt; at.After(since) {
		since = at
	}
	if old := now.Add(-14 * metricAge); since.Before(old) {
		since = old // kept for two weeks
	}
	if from.Before(since) {
		from = since
	}
	first := from.Truncate(metricPace)
	if first.Before(from) {
		first = first.Add(metricPace)
	}
	for _, v := range m.metricsOf() {
		series := el("MetricSeries", "name", v.name, "unit", v.unit, "expectedInterval", num(int(metricPace/time.Second)))
		for at := first; !at.After(to) && !at.After(now); at = at.Add(metricPace) {
			add(series, el("Sample", "timestamp", stamp(at), "value", v.value))
		}
		if len(series.ChildElements()) > 0 && wantsMetric(spec, v.name) {
			add(d, series)
		}
	}
	return ok(typ, d), nil
}

// measured is the VM whose metrics are asked for, and which of them; nil for all.
func (c *call) measured(root string) (*vm, *node, error) {
	m, err := c.onlyVM(c.target())
	if err != nil {
		return nil, nil, err
	}
	if err := c.refresh(m); err != nil {
		return nil, nil, err
	}
	if len(c.body) == 0 {
		return m, nil, nil
	}
	spec, err := c.parse(nsVCloud, root)
	return m, spec, err
}

// metricTime reads the start or the end of a HistoricUsageSpec.
func metricTime(spec *node, which string, now, otherwise time.Time) (time.Time, error) {
	if d := child(spec, "Absolute"+which+"Time"); d != nil {
		at, err := time.Parse(time.RFC3339, attr(d, "time"))
		if err != nil {
			return at, badRequest("%q is not a time with its zone.", attr(d, "time"))
		}
		return at, nil
	}
	d := child(spec, "Relative"+which+"Time")
	if d == nil {
		return otherwise, nil
	}
	unit := map[string]time.Duration{"second": time.Second, "minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour, "week": 7 * 24 * time.Hour}[attr(d, "unit")]
	n := atoi(attr(d, "interval"))
	if unit == 0 || n < 0 || n > 32767 {
		return now, badRequest("%q %q is not a time before now.", attr(d, "interval"), attr(d, "unit"))
	}
	return now.Add(-time.Duration(n) * unit), nil
}
