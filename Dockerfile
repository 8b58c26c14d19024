# docker build -t mnistvae . && docker run --rm -v "$PWD/runs:/home/user/runs" mnistvae --epochs 3
FROM python:3.12-slim

# Wheels of torch for CPUs, a tenth of the size. For an NVIDIA GPU: --build-arg TORCH_INDEX=
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch torchvision

COPY pyproject.toml README.md LICENSE /src/
COPY scripts/pypi_readme.py /src/scripts/
COPY src /src/src
RUN pip install --no-cache-dir /src && rm -r /src

RUN useradd --create-home user && install -d -o user /home/user/runs
USER user
WORKDIR /home/user
ENTRYPOINT ["mnistvae", "train"]
