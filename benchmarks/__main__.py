from benchmarks.frame import main


if __name__ == "__main__":
    main("benchmarks")
