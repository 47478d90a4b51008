"""asv's plugin, where asv.conf.json can name it: see `rnnbench.judge.site.publish.plugin`."""

from rnnbench.judge.site.publish.plugin import SitePublisher

__all__ = ["SitePublisher"]
