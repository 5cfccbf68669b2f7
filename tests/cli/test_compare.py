"""`scorefield compare`, on one method."""

SMALL = ("--seconds", 0.05, "--seeds", 1, "--samples", 50, "--evaluations", 10)


def test_a_comparison_is_written_and_goes_on(cli, refused, tmp_path):
    done = cli("compare", "eight-gaussians", *SMALL, "--method", "VAE", "--out", "c")
    assert done.returncode == 0, done.stderr
    assert "seed 0: training VAE" in done.stdout
    assert "Nearest to the data is VAE: sliced W2" in done.stdout
    for name in ("report.html", "comparison.json", "samples.png", "seeds.png", "plan.json"):
        assert (tmp_path / "c" / name).is_file()
    again = cli("compare", "eight-gaussians", *SMALL, "--method", "VAE", "--out", "c")
    assert ": training" not in again.stdout
    assert "compares with data 'eight-gaussians'; got '25-gaussians'" in refused("compare", *SMALL, "--out", "c")
    assert "unknown method 'vea'" in refused("compare", "--method", "vea", "--out", "d")
    assert "separate modes" in refused("compare", "two-moons", *SMALL, "--method", "VAE", "--out", "e")
